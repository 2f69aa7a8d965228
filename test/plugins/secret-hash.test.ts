import assert from "node:assert/strict";
import { test } from "node:test";
import { readStoredHash } from "../../plugins/secret-hash.ts";
import { isStoredKey } from "../../plugins/stored-key.ts";

test("checks a scrypt hash with the vector of RFC 7914 section 12", async () => {
  const digest =
    "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887";
  const salt = Buffer.from("SodiumChloride").toString("base64");
  const text = Buffer.from(digest, "hex").toString("base64");
  for (const stored of [
    `scrypt$16384$8$1$${salt}$${text}`,
    `$scrypt$ln=14,r=8,p=1$${salt}$${text}`,
  ]) {
    assert.equal(isStoredKey(stored), true);
    assert.equal(await readStoredHash(stored)?.matches("pleaseletmein"), true);
    assert.equal(await readStoredHash(stored)?.matches("pleaseletmeout"), false);
  }
});

for (const text of [
  "",
  "sha256:",
  "md5:abc",
  "$scrypt$",
  "$scrypt$ln=99,r=8,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0",
  "$scrypt$ln=20,r=8,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0",
  "scrypt$1000$8$1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0",
  "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0",
  "$argon2id$v=19$m=9999999,t=1,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0",
  "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0",
  "hmac:short",
  "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
  "a plain password",
]) {
  test(`${JSON.stringify(text)} may not stand among the keys of a consumer`, () => {
    assert.equal(isStoredKey(text), false);
  });
}
