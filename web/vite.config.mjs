import { defineConfig } from "vite";
import { licences } from "./licences.mjs";
import { wavesurferWithoutStyle } from "./wavesurfer-csp.mjs";

export default defineConfig({
  base: "./",
  plugins: [wavesurferWithoutStyle(), licences()],
  build: { outDir: "../src/earthtone/serve/page", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 1500 },
});
