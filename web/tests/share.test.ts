import { expect, test } from "vitest";
import { bare, queryFromText, queryToText, titleOf } from "../src/share";
import { emptyQuery, type Query } from "../src/state";

const asked: Query = {
  ...emptyQuery(), k: 50, find: "image", marks: true,
  like: [{ upload: "abc123", name: "<b>surf</b>.wav", kind: "sound" }, { place: [8.5, 47.4] }], unlike: [{ row: 7, name: "audio:x" }],
  filters: { box: [-20, -10, 60, 50], months: "4-8", where: { land_cover: ["beach", "forest"] }, compare: ["hour>=6"] },
};

test("a query survives the address", () => {
  expect(queryFromText(queryToText(asked))).toEqual(asked);
  expect(queryToText(emptyQuery())).toBe("");
  expect(queryFromText("")).toEqual(emptyQuery());
});

test("a damaged or hostile link is refused, not half believed", () => {
  for (const text of ["{", "[]", "1", '{"like":[{"place":[8]}]}', '{"like":"x"}', '{"k":1e9}', '{"like":[{"upload":"../etc"}]}', `{"like":[${'{"row":1},'.repeat(60)}{"row":1}]}`, "x".repeat(30_000)]) {
    expect(queryFromText(text)).toBeNull();
  }
  expect(queryFromText('{"__proto__":{"k":3},"filters":{"box":["a"]}}')).toEqual(emptyQuery());
});

test("examples go to the server without what people see of them", () => {
  expect(asked.like.map(bare)).toEqual([{ upload: "abc123" }, { place: [8.5, 47.4] }]);
  expect(titleOf(asked)).toBe("+ <b>surf</b>.wav + 8.5, 47.4 − audio:x");
});
