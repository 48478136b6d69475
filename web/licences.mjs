// Writes LICENSES.txt beside the page: the licence of every package that is bundled, and of the outlines of the land.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";

export function licences() {
  return {
    name: "licences",
    generateBundle() {
      const lock = JSON.parse(readFileSync("package-lock.json", "utf8")).packages;
      const names = Object.keys(lock).filter((name) => name && !lock[name].dev && !name.includes("node_modules/@types/")).sort();
      const parts = names.map((name) => {
        const { version, license } = lock[name];
        const file = existsSync(name) ? readdirSync(name).filter((each) => /^licen[cs]e/i.test(each)).sort()[0] : undefined;
        const text = file ? readFileSync(path.join(name, file), "utf8").trim() : `Licence: ${license}`;
        return `${name.replace(/^.*node_modules\//, "")} ${version} (${license})\n\n${text}\n`;
      });
      const head = "The page of Earthtone is made of Earthtone's own files (Apache-2.0) and of these packages. The outlines of the land in\nworld-atlas are made with Natural Earth, which is in the public domain.\n";
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: [head, ...parts].join(`\n${"-".repeat(80)}\n\n`) });
    },
  };
}
