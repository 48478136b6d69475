// Takes the <style> element out of what wavesurfer writes into its shadow tree: the page's security policy allows no style in the page.
// src/wave-style.ts holds these styles instead. Fails the build where wavesurfer is no longer written this way.
const STYLE = /<style[\s\S]{0,3000}?<\/style>/g;

export function wavesurferWithoutStyle() {
  let seen = false;
  return {
    name: "wavesurfer-without-style",
    transform(code, id) {
      if (!/wavesurfer\.js[/\\]dist[/\\]wavesurfer\.esm\.js$/.test(id.split("?")[0])) return null;
      const found = code.match(STYLE) ?? [];
      if (found.length !== 1) this.error(`wavesurfer holds ${found.length} <style> elements; one was expected: read src/wave-style.ts anew`);
      seen = true;
      return { code: code.replace(STYLE, ""), map: null };
    },
    buildEnd() {
      if (!seen) this.error("wavesurfer was not built; wavesurfer-csp.mjs expects wavesurfer.js/dist/wavesurfer.esm.js");
    },
  };
}
