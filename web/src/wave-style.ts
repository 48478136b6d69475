// The styles of wavesurfer's shadow tree. It writes them as a <style> element, which the page's security policy refuses;
// the build takes that out (wavesurfer-csp.mjs), and the player adopts these in its place.
export const WAVE_STYLE = `
:host { user-select: none; min-width: 1px; }
.scroll { overflow: hidden; width: 100%; position: relative; }
.wrapper { position: relative; overflow: visible; z-index: 2; }
.canvases { min-height: 56px; pointer-events: none; }
.canvases > div { position: relative; }
canvas { display: block; position: absolute; top: 0; image-rendering: pixelated; }
.progress { pointer-events: none; position: absolute; z-index: 2; top: 0; left: 0; width: 0; height: 100%; overflow: hidden; }
.progress > div { position: relative; }
.cursor { pointer-events: none; position: absolute; z-index: 5; top: 0; left: 0; height: 100%; }
`;
