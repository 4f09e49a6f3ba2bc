// Writes the ABIs and creation codes of what `forge build` left in out/ into the Python package, as one JSON file.
// Usage: node script/write-artifact.mjs [TARGET]. Run it from anywhere; the same sources give the same bytes.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const CONTRACTS = ["MachProxy", "MachServiceManager", "MachServiceManagerRegistry"];
// What the devnet's L1 and tests put in the place of other people's contracts; none of it is ever deployed elsewhere.
const DOUBLES = ["DisputeGame", "DisputeGameFactory", "EarlyAlerts", "L2OutputOracle"];

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const defaultTarget = path.join(root, "..", "python", "mach", "chain", "artifacts", "mach_contracts.json");
const target = path.resolve(process.argv[2] ?? defaultTarget);

const artifacts = {};
for (const name of [...CONTRACTS, ...DOUBLES]) {
  const source = path.join(root, "out", `${name}.sol`, `${name}.json`);
  if (!fs.existsSync(source)) {
    console.error(`${path.relative(process.cwd(), source)} is missing: run \`make contracts\``);
    process.exit(2);
  }
  const { abi, bytecode } = JSON.parse(fs.readFileSync(source, "utf8"));
  if (bytecode === undefined) {
    console.error(`${path.relative(process.cwd(), source)} has no bytecode: run \`forge build --force\``);
    process.exit(2);
  }
  if (Object.keys(bytecode.linkReferences).length !== 0) {
    console.error(`${name} refers to a library that is not linked: make the library's functions internal`);
    process.exit(2);
  }
  artifacts[name] = { abi, bytecode: bytecode.object };
}

fs.mkdirSync(path.dirname(target), { recursive: true });
const temporary = `${target}.${process.pid}.tmp`;
fs.writeFileSync(temporary, `${JSON.stringify(artifacts)}\n`);
fs.renameSync(temporary, target);
