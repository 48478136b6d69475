// Links that are damaged, or name what is not there, are told in words; the page can be used as ever.
import { accessible, assert, picture, scene, url } from "../chromium.mjs";
import { found, part, searchByFile } from "../page.mjs";

const query = (asked) => encodeURIComponent(JSON.stringify(asked));

await scene(async (page, watched) => {
  const message = page.getByRole("alert", { name: "What is wrong with the link" });
  for (const [says, what] of [[/search is damaged/, "q"], [/no|not here/, "row"], [/part of the map/, "at"], [/column/, "colour"], [/layers/, "layers"], [/selection/, "sel"], [/foo/, "foo"]]) {
    assert.match(await message.innerText(), says, what);
  }
  await picture(page, "told");
  await accessible(page, "a damaged link");
  await message.getByRole("button").click();
  await searchByFile(page, process.env.SOUND);
  for (const like of [[{ id: "nowhere" }], [{ row: 999_999 }]]) {
    const other = await watched.open(`${url}#q=${query({ like })}`);
    await part(other, "Hits").getByRole("alert").getByText(/expected/).waitFor();
    await searchByFile(other, process.env.SOUND);
    assert.ok((await found(other)).length > 1);
    await other.close();
  }
  const changed = await watched.open(`${url}#q=${query({ like: [{ row: 1 }] })}&index=0123456789abcdef`);
  await changed.getByText(/index has changed/).waitFor();
  assert.ok((await found(changed)).length > 1);
}, {
  hash: "#q={broken&row=99999&at=1,2&colour=column+nowhere&layers=nonsense&sel=rows:1.99999999&plane=a&foo=1",
  allowed: (text) => /status of 4\d\d/.test(text),
});
