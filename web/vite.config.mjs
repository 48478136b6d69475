import { defineConfig } from "vite";
import { wavesurferWithoutStyle } from "./wavesurfer-csp.mjs";

export default defineConfig({
  base: "./",
  plugins: [wavesurferWithoutStyle()],
  build: { outDir: "../src/earthtone/serve/page", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
});
