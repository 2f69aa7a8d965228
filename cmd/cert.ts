/** `weft cert ca | issue | show`: an authority for a laptop, certificates for its services, and what is in a file. */

import { readFile } from "node:fs/promises";
import {
  AuthorityError,
  createAuthority,
  issueCertificate,
} from "../control/authority/authority.ts";
import {
  describeCertificate,
  describeInUse,
  summarise,
  type CertificateInUse,
} from "../control/authority/describe.ts";
import { parseDuration, suggestDuration } from "../control/units.ts";
import { askAdmin, defaultAdmin } from "./admin-client.ts";
import { parseArguments } from "./args.ts";
import type { Arguments, Command } from "./command.ts";
import { CommandError, exitCodes } from "./exit.ts";

/** For the table of all commands. */
export const certCommands: readonly Command[] = [
  {
    name: "cert ca",
    summary: "make an authority: ca.crt and ca.key, enough for a laptop",
    options: {
      out: { value: "DIR", help: "folder for ca.crt and ca.key (0600)" },
      "trust-domain": {
        value: "NAME",
        default: "weft.local",
        help: "what all its services belong to",
      },
    },
    examples: ["weft cert ca --out ca"],
    run: (args) => inWords(() => ca(args)),
  },
  {
    name: "cert issue",
    summary: "sign a certificate for a service: NAME.crt, NAME.key, bundle.crt",
    options: {
      service: { value: "NAME", help: "its SPIFFE name is spiffe://<trust domain>/service/NAME" },
      ca: { value: "DIR", help: "folder with ca.crt and ca.key" },
      out: { value: "DIR", help: "folder for the three files" },
      ttl: { value: "DURATION", default: "24h", help: "how long it is valid" },
      dns: {
        value: "NAME",
        multiple: true,
        help: "a DNS name too, so that an edge listener can show it",
      },
    },
    examples: ["weft cert issue --service orders --ca ca --out certs"],
    run: (args) => inWords(() => issue(args)),
  },
  {
    name: "cert show",
    summary: "say who a certificate is for, until when, and who signed it",
    positionals: "[FILE]",
    arity: [0, 1],
    options: {
      admin: {
        value: "ADDR",
        help: "without FILE: those in use by the weft that runs there",
        default: defaultAdmin,
      },
      json: { help: "for machines" },
    },
    examples: ["weft cert show certs/orders.crt", "weft cert show --admin 127.0.0.1:9901"],
    run: (args) => inWords(() => show(args)),
  },
];

/** @param argv what stands after `cert` */
export async function certCommand(argv: readonly string[]): Promise<number> {
  const command = certCommands.find(({ name }) => name === `cert ${argv[0]}`);
  if (command === undefined) {
    throw new CommandError(exitCodes.usage, "weft cert: expected ca, issue or show");
  }
  return command.run(parseArguments(command, argv.slice(1)));
}

async function ca(args: Arguments): Promise<number> {
  const files = await createAuthority(
    needed(args, "cert ca", "out", "DIR"),
    args.value("trust-domain") ?? "weft.local",
  );
  process.stdout.write(`${files.cert}\n${files.key}\n`);
  return exitCodes.ok;
}

async function issue(args: Arguments): Promise<number> {
  const ttl = args.value("ttl") ?? "24h";
  const ttlMs = parseDuration(ttl);
  if (ttlMs === null) {
    const suggestion = suggestDuration(ttl);
    const hint = suggestion === null ? "" : `, did you mean ${suggestion}?`;
    throw new CommandError(
      exitCodes.usage,
      `weft cert issue: --ttl ${ttl}: expected a duration such as 24h${hint}`,
    );
  }
  const files = await issueCertificate({
    service: needed(args, "cert issue", "service", "NAME"),
    ca: needed(args, "cert issue", "ca", "DIR"),
    out: needed(args, "cert issue", "out", "DIR"),
    ttlMs,
    dnsNames: args.values("dns"),
  });
  process.stdout.write(
    `${files.cert}\n${files.key}\n${files.bundle}\n\n${files.id}, valid until ${files.expiresAt.toISOString()}\n`,
  );
  return exitCodes.ok;
}

async function show(args: Arguments): Promise<number> {
  const [file] = args.positionals;
  if (file === undefined) return showInUse(args);
  if (args.value("admin") !== undefined) {
    throw new CommandError(exitCodes.usage, "weft cert show: give FILE or --admin, not both");
  }
  let pem: string;
  try {
    pem = await readFile(file, "utf8");
  } catch (error) {
    throw new CommandError(
      exitCodes.input,
      `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`,
    );
  }
  try {
    const text = args.has("json")
      ? JSON.stringify(summarise(pem, Date.now()), null, 2)
      : describeCertificate(pem);
    process.stdout.write(`${text}\n`);
  } catch (error) {
    if (!(error instanceof AuthorityError)) throw error;
    throw new CommandError(exitCodes.input, `${file}: ${error.message}`);
  }
  return exitCodes.ok;
}

async function showInUse(args: Arguments): Promise<number> {
  const views = (await askAdmin(args.value("admin") ?? defaultAdmin, "/certs")) as readonly (
    | CertificateInUse
    | { readonly use: string; readonly file: string; readonly error: string }
  )[];
  const words = views.map((one) =>
    "error" in one ? `${one.use}: ${one.file}\n  ${one.error}` : describeInUse(one, Date.now()),
  );
  const text = views.length === 0 ? "no certificates in use" : words.join("\n");
  process.stdout.write(`${args.has("json") ? JSON.stringify(views, null, 2) : text}\n`);
  return exitCodes.ok;
}

function needed(args: Arguments, command: string, name: string, what: string): string {
  const value = args.value(name);
  if (value === undefined)
    throw new CommandError(exitCodes.usage, `weft ${command}: --${name} ${what} is missing`);
  return value;
}

async function inWords(run: () => Promise<number>): Promise<number> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof AuthorityError) throw new CommandError(exitCodes.input, error.message);
    throw error;
  }
}
