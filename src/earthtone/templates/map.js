"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const floats = (text) => {
    const raw = bytes(text), view = new DataView(raw.buffer), out = new Float32Array(raw.length / 4);
    for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
    return out;
  };
  const bands = data.bands.map((band) => ({ ...band, values: floats(band.values) }));
  const canvas = document.getElementById("map"), brush = canvas.getContext("2d");
  const choice = document.getElementById("layer"), opacity = document.getElementById("opacity");
  const told = document.getElementById("told"), cursor = document.getElementById("cursor");
  const { width, height } = data;
  let layer = data.layers[0], cell = null;
  canvas.width = width;
  canvas.height = height;

  const number = (value) => Number.isNaN(value) ? "-" : String(Number(value.toPrecision(4)));

  const draw = () => {
    const picture = brush.createImageData(width, height), values = bands[layer.band].values;
    const ramp = layer.colours, count = ramp.length / 3, unlike = layer.faint ? bands[data.unlike].values : null;
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (Number.isNaN(value)) continue;
      const share = layer.classes.length ? value : Math.floor((value - layer.low) / ((layer.high - layer.low) || 1) * count);
      const at = 3 * Math.min(count - 1, Math.max(0, share));
      for (let part = 0; part < 3; part++) picture.data[4 * i + part] = ramp[at + part];
      picture.data[4 * i + 3] = unlike !== null && unlike[i] > 1 ? data.faint : 255;
    }
    brush.putImageData(picture, 0, 0);
    legend();
    tell();
  };

  const element = (name, text, style) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    Object.assign(made.style, style || {});
    return made;
  };

  const legend = () => {
    const place = document.getElementById("legend");
    place.replaceChildren();
    if (layer.classes.length) {
      layer.classes.forEach((name, i) => {
        const item = element("span", undefined, { marginRight: "1rem", whiteSpace: "nowrap" });
        const colour = `rgb(${layer.colours.slice(3 * i, 3 * i + 3).join(",")})`;
        item.append(element("i", undefined, { background: colour }), ` ${name}`);
        place.append(item);
      });
      return;
    }
    const strip = element("canvas");
    strip.width = layer.colours.length / 3;
    strip.height = 1;
    const pen = strip.getContext("2d"), line = pen.createImageData(strip.width, 1);
    for (let i = 0; i < strip.width; i++) {
      for (let part = 0; part < 3; part++) line.data[4 * i + part] = layer.colours[3 * i + part];
      line.data[4 * i + 3] = 255;
    }
    pen.putImageData(line, 0, 0);
    const ends = element("p", undefined, { display: "flex", justifyContent: "space-between" });
    ends.append(element("span", number(layer.low)), element("span", layer.label), element("span", number(layer.high)));
    place.append(strip, ends);
  };

  const tell = () => {
    cursor.hidden = cell === null;
    if (cell === null) {
      told.textContent = "Point at a tile, or step through them with the arrow keys.";
      return;
    }
    const [column, row] = cell, i = row * width + column;
    Object.assign(cursor.style, {
      left: `${100 * column / width}%`, top: `${100 * row / height}%`,
      width: `${100 / width}%`, height: `${100 / height}%`,
    });
    const place = `${number(bands[data.longitude].values[i])}, ${number(bands[data.latitude].values[i])} (longitude, latitude)`;
    const lines = layer.hover.map((at) => {
      const value = bands[at].values[i], names = bands[at].classes;
      return `${bands[at].name} ${names && !Number.isNaN(value) ? names[value] : number(value)}`;
    });
    told.textContent = `${place}: ${lines.join(" · ")}`;
  };

  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / box.width * width);
    const row = Math.floor((event.clientY - box.top) / box.height * height);
    cell = column >= 0 && column < width && row >= 0 && row < height ? [column, row] : null;
    tell();
  };

  data.layers.forEach((each, i) => {
    const option = element("option", each.title);
    option.value = i;
    choice.append(option);
  });
  choice.addEventListener("change", () => { layer = data.layers[choice.value]; draw(); });
  opacity.addEventListener("input", () => { canvas.style.opacity = opacity.value / 100; });
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [column, row] = cell || [Math.floor(width / 2), Math.floor(height / 2)];
    cell = [Math.min(width - 1, Math.max(0, column + step[0])), Math.min(height - 1, Math.max(0, row + step[1]))];
    tell();
  });
  document.querySelectorAll("button.small-map").forEach((button) => button.addEventListener("click", () => {
    choice.value = button.dataset.layer;
    layer = data.layers[choice.value];
    draw();
    canvas.scrollIntoView({ block: "center" });
  }));
  document.getElementById("controls").hidden = false;
  draw();
})();
