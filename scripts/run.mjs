/**
 * Runs the project's tasks on a fresh clone: installs what package-lock.json names, then goes on with the pinned Node.
 * Plain JavaScript for Node 20, since that may be all there is: `node scripts/run.mjs TASK [arguments]`.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import os from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = join(root, "node_modules", ".bin");
const node = join(bin, "node");

/** Programs that tests run for real, and the Debian package of each. */
const servers = {
  "redis-server": "redis-server",
  openssl: "openssl",
  curl: "curl",
  nghttp: "nghttp2-client",
  h2load: "nghttp2-client",
  chromium: "chromium",
  ip: "iproute2",
  prlimit: "util-linux",
  faketime: "faketime",
};

const layers = ["cmd", "gateway", "mesh", "proxy", "plugins", "policies", "control"];

const tasks = {
  start: (args) => run(node, ["cmd/weft.ts", "demo", ...args]),
  weft: (args) => run(node, [join(root, "cmd/weft.ts"), ...args], process.env.INIT_CWD),
  build: (args) => run(node, ["scripts/build.ts", ...args]),
  bench: (args) => run(node, ["test/bench/run.ts", ...args]),
  fuzz: (args) => run(node, ["test/fuzz/run.ts", ...args]),
  soak: (args) => run(node, ["test/soak/run.ts", ...args]),
  scale: (args) => run(node, ["test/scale/run.ts", ...args]),
  check,
  test,
};

/** Format, lint, types, architecture; then the five longest files, as a hint. */
async function check() {
  const steps = [
    ["format", "oxfmt", ["--check", "."]],
    ["lint", "oxlint", ["--deny-warnings", "."]],
    ["types", "tsc", ["-p", "."]],
    ["architecture", "node", ["--test", "--test-reporter=dot", "test/architecture.test.ts"]],
  ];
  let failed = 0;
  for (const [name, program, args] of steps) {
    const code = await run(join(bin, program), args);
    console.log(`${code === 0 ? "ok" : "FAILED"}  ${name}`);
    if (code !== 0) failed = code;
  }
  console.log("\nThe five longest source files (one above 300 lines usually does two jobs):");
  for (const [lines, file] of longest(5)) console.log(`${String(lines).padStart(6)}  ${file}`);
  return failed === 0 ? 0 : 1;
}

/** Everything: `check`, then all tests. The last lines are node's own summary. */
async function test(args) {
  const named = args.filter((arg) => !arg.startsWith("-"));
  const checked = named.length > 0 ? 0 : await check();
  if (!provideServers()) return 1;
  const files = named.length > 0 ? named : testFiles(join(root, "test"));
  const concurrency = Math.max(2, os.availableParallelism());
  const code = await run(node, [
    "--test",
    "--test-reporter=spec",
    `--test-concurrency=${concurrency}`,
    "--test-timeout=180000",
    ...args.filter((arg) => arg.startsWith("-")),
    ...files,
  ]);
  if (checked !== 0) console.error("npm run check failed: see the top of this output.");
  return code !== 0 ? code : checked;
}

function testFiles(folder) {
  return readdirSync(folder, { recursive: true })
    .map((name) => join("test", String(name)))
    .filter((name) => name.endsWith(".test.ts"))
    .sort();
}

/** Installs missing servers where that is ours to do. False: a test run must not go on. */
function provideServers() {
  let missing = Object.keys(servers).filter((program) => !isOnPath(program));
  if (missing.length === 0) return true;
  const isDebian = existsSync("/etc/debian_version") && isOnPath("apt-get");
  if (isDebian && process.getuid?.() === 0) {
    const packages = [...new Set(missing.map((program) => servers[program]))];
    console.log(`Installing for the tests: ${packages.join(", ")}`);
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const options = { stdio: ["ignore", "ignore", "inherit"], env };
    spawnSync("apt-get", ["update", "-qq"], options);
    spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], options);
    missing = missing.filter((program) => !isOnPath(program));
  }
  if (missing.length === 0) return true;
  const advice = isDebian
    ? `apt-get install ${missing.map((name) => servers[name]).join(" ")}`
    : "install them";
  console.error(
    `Not found on PATH: ${missing.join(", ")}. Tests that need them cannot run; ${advice}.`,
  );
  return process.env.CI !== "true";
}

function isOnPath(program) {
  return (process.env.PATH ?? "")
    .split(delimiter)
    .some((folder) => existsSync(join(folder, program)));
}

function longest(count) {
  const found = [];
  for (const layer of layers) {
    if (!existsSync(join(root, layer))) continue;
    for (const name of readdirSync(join(root, layer), { recursive: true })) {
      const file = join(layer, String(name));
      if (!file.endsWith(".ts")) continue;
      found.push([readFileSync(join(root, file), "utf8").split("\n").length - 1, file]);
    }
  }
  return found.sort((a, b) => b[0] - a[0]).slice(0, count);
}

/** `npm ci` when there is nothing installed, or something older than the lock file. */
function install() {
  const lock = join(root, "package-lock.json");
  const installed = join(root, "node_modules", ".package-lock.json");
  if (
    existsSync(installed) &&
    existsSync(node) &&
    statSync(installed).mtimeMs >= statSync(lock).mtimeMs
  )
    return;
  console.error("Installing dependencies (npm ci) ...");
  // npm's own output goes to stderr, so that what a task prints stays clean
  const done = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (done.status !== 0 || !existsSync(node)) {
    console.error("npm ci failed: the lines above say why.");
    process.exit(1);
  }
}

/**
 * Runs a program in the foreground and resolves to its exit code. Signals are passed on; the child is told that a
 * runner stands above it, since a terminal's Ctrl-C then reaches it more than once.
 */
function run(program, args, cwd) {
  return new Promise((resolve) => {
    // what tests start answers to them alone
    const isWeft = args.some((arg) => arg.endsWith("cmd/weft.ts"));
    const env = {
      ...process.env,
      PATH: `${bin}${delimiter}${process.env.PATH ?? ""}`,
      ...(isWeft ? { WEFT_RUNNER: "1" } : {}),
    };
    const child = spawn(program, args, { cwd: cwd ?? root, stdio: "inherit", env });
    const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"];
    const handlers = signals.map((signal) => {
      const handler = () => child.kill(signal);
      process.on(signal, handler);
      return () => process.off(signal, handler);
    });
    // npm that is killed cannot pass that on: then our parent changes
    const parent = process.ppid;
    const orphaned = setInterval(() => process.ppid !== parent && child.kill("SIGTERM"), 500);
    const end = (code) => {
      clearInterval(orphaned);
      for (const remove of handlers) remove();
      resolve(code);
    };
    child.on("error", (error) => {
      console.error(`${program}: ${error.message}`);
      end(1);
    });
    child.on("close", (code, signal) =>
      end(signal === null ? (code ?? 1) : 128 + os.constants.signals[signal]),
    );
  });
}

const [task, ...args] = process.argv.slice(2);
if (!Object.hasOwn(tasks, task ?? "")) {
  console.error(`usage: node scripts/run.mjs ${Object.keys(tasks).join("|")} [arguments]`);
  process.exit(2);
}
install();
process.exitCode = await tasks[task](args);
