/** The command line: help everywhere, exit codes, and hints for what was mistyped. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { parseArguments, wholeNumber } from "../../cmd/args.ts";
import type { Command } from "../../cmd/command.ts";
import { commands, futureCommands } from "../../cmd/commands.ts";
import { CommandError } from "../../cmd/exit.ts";
import { commandHelp, overview } from "../../cmd/help.ts";
import { createKey, keyHash } from "../../cmd/key.ts";
import { checksum } from "../../plugins/key-format.ts";
import { root } from "../support/source-tree.ts";
import { weft } from "./cli.ts";

describe("help", () => {
  it("names every command, and none that does not exist", () => {
    const text = overview(commands);
    for (const { name } of commands) assert.match(text, new RegExp(`^  ${name} `, "m"));
    for (const name of futureCommands) assert.doesNotMatch(text, new RegExp(`^  ${name} `, "m"));
  });

  for (const command of commands) {
    it(`explains ${command.name} with every option`, () => {
      const text = commandHelp(command);
      assert.match(text, new RegExp(`^usage: weft ${command.name}`, "m"));
      for (const name of [...Object.keys(command.options), "help"]) {
        assert.match(text, new RegExp(`--${name}\\b`));
      }
      assert.ok(text.split("\n").every((line) => line.length <= 100));
    });
  }

  it("is on stdout with exit code 0 when asked for, on stderr with 2 when not", async () => {
    const asked = await weft(["--help"]);
    assert.deepEqual([asked.code, asked.stderr], [0, ""]);
    assert.equal((await weft(["help"])).stdout, asked.stdout);
    const bare = await weft([]);
    assert.deepEqual([bare.code, bare.stdout], [2, ""]);
    assert.match((await weft(["gateway", "--help"])).stdout, /SIGHUP reloads/);
    assert.match((await weft(["help", "cert", "issue"])).stdout, /--ttl DURATION/);
    assert.match((await weft(["cert", "--help"])).stdout, /weft cert ca[^]*weft cert show/);
  });
});

describe("wrong usage", () => {
  for (const [args, said] of [
    [["gatway"], /unknown command "gatway"; did you mean "gateway"/],
    [["plan"], /plan: not built yet/],
    [["cert"], /expected weft cert ca/],
    [["cert", "isue"], /did you mean "cert issue"/],
    [["gateway", "--wrkers", "2"], /unknown option --wrkers; did you mean --workers/],
    [["gateway", "--workers", "many"], /expected a whole number from 1 to 255/],
    [["gateway", "--workers"], /--workers needs N/],
    [["gateway", "--log-level", "inof"], /did you mean "info"/],
    [["gateway", "now"], /unexpected argument "now"/],
    [["gateway", "--", "app"], /"--" has no meaning here/],
    [["mesh", "--"], /no command stands after "--"/],
    [["explain", "GET"], /URL is missing/],
    [["explain", "GET", "/", "-H", "nonsense"], /expected 'name: value'/],
    [["explain", "/orders", "GET"], /"\/orders" is no method; expected METHOD URL/],
    [["dev"], /--to URL is missing/],
    [["dev", "--to", "ftp://a"], /expected a URL such as/],
    [["dev", "--to", "http://a", "--limit", "often"], /expected a rate such as 10\/min/],
    [["key", "create"], /--consumer NAME is missing/],
    [["version", "--json=yes"], /takes no value/],
  ] as const) {
    it(`weft ${args.join(" ")}: exit code 2 and a hint`, async () => {
      const { code, stdout, stderr } = await weft(args);
      assert.equal(code, 2);
      assert.equal(stdout, "");
      assert.match(stderr, said);
    });
  }
});

describe("arguments", () => {
  const command: Command = {
    name: "try",
    summary: "",
    positionals: "ONE [TWO]",
    arity: [1, 2],
    takesRest: true,
    options: {
      config: { short: "c", value: "FILE", help: "" },
      header: { short: "H", value: "H", multiple: true, help: "" },
      json: { help: "" },
    },
    run: async () => 0,
  };

  it("reads short and long forms, repeated options and what stands after --", () => {
    const args = parseArguments(command, [
      "a",
      "-c",
      "f",
      "-H",
      "x: 1",
      "--header=y: 2",
      "--json",
      "--",
      "run",
      "--help",
    ]);
    assert.deepEqual(args.positionals, ["a"]);
    assert.equal(args.value("config"), "f");
    assert.deepEqual(args.values("header"), ["x: 1", "y: 2"]);
    assert.equal(args.has("json"), true);
    assert.deepEqual(args.rest, ["run", "--help"]);
  });

  it("refuses an option twice and a prototype's name", () => {
    const twice = () => parseArguments(command, ["a", "-c", "f", "--config", "g"]);
    assert.throws(twice, /--config was given twice/);
    assert.throws(() => parseArguments(command, ["a", "--constructor"]), CommandError);
  });

  it("takes whole numbers within their range only", () => {
    const read = (text: string) =>
      wholeNumber(parseArguments(command, ["a", "-c", text]), "config", [1, 10]);
    assert.equal(read("7"), 7);
    for (const text of ["0", "11", "1e1", "-1", " 1", "9999999999"]) {
      assert.throws(() => read(text), CommandError);
    }
  });
});

describe("check", () => {
  let folder = "";
  before(() => (folder = mkdtempSync(path.join(tmpdir(), "weft-test-"))));
  after(() => rmSync(folder, { recursive: true }));
  const file = (name: string, text: string) => {
    writeFileSync(path.join(folder, name), text);
    return ["check", "-c", name];
  };

  it("is silent on stderr with exit code 0 when all is fine", async () => {
    const text =
      "gateway: { listeners: [{ port: 8080 }] }\nroutes: [{ name: a, respond: { status: 200 } }]\n";
    const { code, stderr } = await weft(file("fine.yaml", text), { cwd: folder });
    assert.deepEqual([code, stderr], [0, ""]);
  });

  it("prints every problem with its place, the line, what was expected and a suggestion", async () => {
    const text = "gateway:\n  listeners: [{ port: 8080 }]\nroutse: []\ndrainTimeout: 5parsecs\n";
    const { code, stderr } = await weft(file("wrong.yaml", text), { cwd: folder });
    assert.equal(code, 1);
    assert.match(stderr, /^wrong\.yaml:3:1: .*routse/m);
    assert.match(stderr, /did you mean "routes"/);
    assert.match(stderr, /^wrong\.yaml:4:15: /m);
    assert.match(stderr, /expected: a duration/);
  });

  it("finds names that nothing stands behind, and options that a plugin does not take", async () => {
    const text = `gateway: { listeners: [{ port: 8080 }] }
services: { orders: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: a, to: ordres, plugins: [{ api-key: { heder: x } }] }
`;
    const { code, stderr } = await weft(file("names.yaml", text), { cwd: folder });
    assert.equal(code, 1);
    assert.match(stderr, /names\.yaml:4:\d+: .*ordres/);
    assert.match(stderr, /did you mean "orders"/);
    assert.match(stderr, /heder/);
  });

  it("speaks JSON to machines", async () => {
    const { code, stdout } = await weft([...file("json.yaml", "nonsense: 1\n"), "--json"], {
      cwd: folder,
    });
    assert.equal(code, 1);
    const { ok, problems } = JSON.parse(stdout);
    assert.equal(ok, false);
    assert.equal(problems[0].line, 1);
  });

  for (const command of [["check"], ["gateway"], ["mesh"]]) {
    it(`${command[0]} names a missing file, with exit code 1`, async () => {
      const { code, stderr } = await weft([...command, "-c", "nowhere.yaml"], { cwd: folder });
      assert.equal(code, 1);
      assert.match(stderr, /nowhere\.yaml: the file does not exist/);
    });
  }

  it("names an unset variable, with exit code 1", async () => {
    const text =
      "gateway: { listeners: [{ port: 8080 }] }\nadmin: { address: '${NOT_SET_AT_ALL}' }\n";
    file("unset.yaml", text);
    const { code, stderr } = await weft(["gateway", "-c", "unset.yaml"], { cwd: folder });
    assert.equal(code, 1);
    assert.match(stderr, /^unset\.yaml:2:\d+: .*NOT_SET_AT_ALL/m);
  });

  it("explains a request from a file", async () => {
    const text = `gateway: { listeners: [{ port: 8080 }] }
routes:
  - { name: ping, match: { path: { exact: /ping } }, respond: { status: 200 } }
  - { name: rest, respond: { status: 404 } }
`;
    file("explain.yaml", text);
    const ask = ["explain", "GET", "http://a/ping", "-c", "explain.yaml"];
    const asText = await weft(ask, { cwd: folder });
    assert.equal(asText.code, 0);
    assert.match(asText.stdout, /route ping/);
    const { route, lost } = JSON.parse((await weft([...ask, "--json"], { cwd: folder })).stdout);
    assert.equal(route, "ping");
    assert.equal(lost[0].route, "rest");
    const slip = await weft(["explain", "GTE", ...ask.slice(2)], { cwd: folder });
    assert.equal(slip.code, 0);
    assert.match(slip.stderr, /no usual method is GTE; did you mean GET\?/);
  });
});

describe("key create", () => {
  it("prints the key, and its hash for the configuration", async () => {
    const { code, stdout } = await weft([
      "key",
      "create",
      "--consumer",
      "acme",
      "--prefix",
      "shop",
    ]);
    assert.equal(code, 0);
    const key = /^shop_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}$/m.exec(stdout)![0];
    assert.ok(stdout.includes(`{ name: "acme", keys: ["${keyHash(key)}"] }`));
    assert.equal(stdout.split(key).length, 2);
  });

  it("makes keys that carry their own checksum and never repeat", () => {
    const keys = new Set(Array.from({ length: 200 }, () => createKey("weft")));
    assert.equal(keys.size, 200);
    for (const key of keys) {
      const at = key.lastIndexOf("_");
      assert.equal(checksum(key.slice(0, at)), key.slice(at + 1));
    }
  });
});

describe("the small commands", () => {
  it("version and schema print what machines can read", async () => {
    assert.match((await weft(["--version"])).stdout, /^weft \d+\.\d+\.\d+ \(node \d+/);
    assert.match(JSON.parse((await weft(["version", "--json"])).stdout).version, /^\d+\./);
    const schema = JSON.parse((await weft(["schema"])).stdout);
    assert.ok("routes" in schema.properties);
  });

  it("end quietly when nobody reads what they print", async () => {
    const program = `"${process.execPath}" "${path.join(root, "cmd/weft.ts")}" schema`;
    const { stdout, stderr } = spawnSync(
      "bash",
      ["-c", `${program} | true; echo "\${PIPESTATUS[0]}"`],
      { encoding: "utf8" },
    );
    assert.deepEqual([stdout, stderr], ["0\n", ""]);
  });

  for (const command of ["routes", "services", "config"]) {
    it(`${command} says with exit code 3 that no weft answers`, async () => {
      const { code, stderr } = await weft([command, "--admin", "127.0.0.1:1"]);
      assert.equal(code, 3);
      assert.match(stderr, /127\.0\.0\.1:1/);
    });
  }
});
