// What people say of hits, right or wrong: kept by the server before it counts here; the last ones can be taken back.

import { getJson, postJson, type Verdict } from "./api";

const WHO = "earthtone.who";

interface Said { key: string; query: string; before: Verdict; }

/** The verdicts of this query, by what hits are called in marks. */
export class Marks {
  private readonly verdicts = new Map<string, Verdict>();
  private readonly done: Said[] = [];
  private query = "";
  who: string;

  constructor(who: string) {
    this.who = remembered() || who;
  }

  of(key: string): Verdict | null {
    const verdict = this.verdicts.get(`${this.query}\n${key}`);
    return verdict && verdict !== "unsure" ? verdict : null;
  }

  /** How many marks this query has. */
  get count(): number {
    return [...this.verdicts].filter(([name, verdict]) => name.startsWith(`${this.query}\n`) && verdict !== "unsure").length;
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  setWho(who: string): void {
    this.who = who.trim().slice(0, 80);
    try {
      localStorage.setItem(WHO, this.who);
    } catch {
      // a browser that keeps nothing: the name holds until the page is closed
    }
  }

  /** Turns to another query, and reads this person's marks of it. */
  async turnTo(query: string): Promise<void> {
    this.query = query;
    const told = await getJson<{ marks?: { id?: string; key?: string; verdict: Verdict; who?: string }[] }>(`api/marks?query=${encodeURIComponent(query)}`);
    for (const mark of told.marks ?? []) {
      const key = mark.id ?? mark.key;
      if (key !== undefined && (mark.who ?? "") === this.who) this.verdicts.set(`${query}\n${key}`, mark.verdict);
    }
  }

  /** Says a verdict; said again it is taken back. Returns once it is kept. */
  async say(key: string, verdict: "right" | "wrong"): Promise<void> {
    const before = this.of(key) ?? "unsure";
    await this.keep(key, this.query, before === verdict ? "unsure" : verdict);
    this.done.push({ key, query: this.query, before });
  }

  /** Takes the last word back. */
  async undo(): Promise<void> {
    const last = this.done.at(-1);
    if (!last) return;
    await this.keep(last.key, last.query, last.before);
    this.done.pop();
  }

  private async keep(key: string, query: string, verdict: Verdict): Promise<void> {
    await postJson("api/marks", { key, query, verdict, who: this.who });
    this.verdicts.set(`${query}\n${key}`, verdict);
  }
}

function remembered(): string | null {
  try {
    return localStorage.getItem(WHO);
  } catch {
    return null;
  }
}
