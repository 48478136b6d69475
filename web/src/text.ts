// Numbers, places and times as the page writes them, and places as people type them.

const SECONDS = 60;

/** 0.8312 as "0.831". */
export const scoreText = (score: number): string => (Math.abs(score) >= 100 ? score.toFixed(1) : score.toFixed(3));

/** 2019 as "2019", 0.01234 as "0.0123", 1234567 as "1,234,567", 0.00001 as "1e-5": three digits at least, no more than matter. */
export function numberText(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-3)) return Number(value.toPrecision(3)).toExponential().replace("+", "");
  if (size >= 1000) return Math.round(value).toLocaleString("en", { useGrouping: size >= 10_000 });
  return String(+value.toPrecision(3));
}

/** Days since 1970 as "2023-05-04". */
export function dayText(days: number): string {
  const date = new Date(86_400_000 * days);
  return Number.isNaN(date.getTime()) ? numberText(days) : date.toISOString().split("T")[0]!;
}

/** 99.95 as "99.95", 7 as "7.0": more digits where they tell ranks apart. */
export const percentileText = (percentile: number): string => percentile.toFixed(percentile > 99 && percentile < 100 ? 2 : 1);

/** 83.2 as "1:23.2". */
export function clock(seconds: number): string {
  const tenths = Math.max(0, Math.round(seconds * 10));
  const minutes = Math.floor(tenths / (10 * SECONDS));
  const rest = (tenths - minutes * 10 * SECONDS) / 10;
  return `${minutes}:${rest < 10 ? "0" : ""}${rest.toFixed(1)}`;
}

/** Longitude and latitude as people read them: "47.3769° N, 8.5417° E". */
export function placeText(longitude: number, latitude: number): string {
  const east = ((((longitude + 180) % 360) + 360) % 360) - 180;
  const part = (degrees: number, plus: string, minus: string) => `${Math.abs(degrees).toFixed(4)}° ${degrees < 0 ? minus : plus}`;
  return `${part(latitude, "N", "S")}, ${part(east, "E", "W")}`;
}

/** 0.42 as "420 m", 12.345 as "12.3 km", 4321 as "4,321 km". */
export const distanceText = (km: number): string =>
  km < 0.95 ? `${Math.round(1000 * km)} m` : `${km < 99.5 ? +km.toPrecision(3) : Math.round(km).toLocaleString("en")} km`;

/** "2021-05-04T06:00:00Z" as "2021-05-04 06:00 UTC". */
export const timeText = (datetime: string): string => datetime.replace(/^(\S+)T(\d\d:\d\d)(:\d\d)?(\.\d+)?Z?$/, "$1 $2 UTC");

const NUMBER = String.raw`[-+]?(?:\d+(?:[.]\d*)?|[.]\d+)`;
const PAIR = new RegExp(String.raw`^\s*(${NUMBER})\s*°?\s*(?:,|;|\s)\s*(${NUMBER})\s*°?\s*$`);
const NAMED = new RegExp(String.raw`^\s*(${NUMBER})\s*°?\s*([NSEW])\s*[,;\s]\s*(${NUMBER})\s*°?\s*([NSEW])\s*$`, "i");

export type Place = { place: [number, number]; hint: string | null } | { wrong: string };

/** What "LON, LAT" means, or what is wrong with it; with letters ("47.4 N, 8.5 E") in any order. */
export function readPlace(text: string, bounds: number[] | null = null): Place {
  const named = NAMED.exec(text);
  if (named) return readNamed(named);
  const found = PAIR.exec(text);
  if (!found) return { wrong: `"${text.slice(0, 60)}" is no place; type longitude, latitude in degrees, such as 8.54, 47.37` };
  const [longitude, latitude] = [Number(found[1]), Number(found[2])];
  if (Math.abs(latitude) > 90) {
    const swapped = Math.abs(longitude) <= 90 && Math.abs(latitude) <= 180;
    const advice = swapped ? `; they look swapped: type ${latitude}, ${longitude}` : "";
    return { wrong: `latitude ${latitude} is beyond 90 degrees; longitude first, then latitude${advice}` };
  }
  if (Math.abs(longitude) > 180) return { wrong: `longitude ${longitude} is beyond 180 degrees; longitude first, then latitude` };
  return { place: [longitude, latitude], hint: swapHint(longitude, latitude, bounds) };
}

function readNamed(found: RegExpExecArray): Place {
  const parts = [[Number(found[1]), found[2]!.toUpperCase()], [Number(found[3]), found[4]!.toUpperCase()]] as [number, string][];
  const north = parts.filter(([, letter]) => "NS".includes(letter));
  const east = parts.filter(([, letter]) => "EW".includes(letter));
  if (north.length !== 1 || east.length !== 1) return { wrong: "one of N and S and one of E and W expected, such as 47.37 N, 8.54 E" };
  const latitude = north[0]![0] * (north[0]![1] === "S" ? -1 : 1);
  const longitude = east[0]![0] * (east[0]![1] === "W" ? -1 : 1);
  if (Math.abs(latitude) > 90) return { wrong: `latitude ${latitude} is beyond 90 degrees` };
  if (Math.abs(longitude) > 180) return { wrong: `longitude ${longitude} is beyond 180 degrees` };
  return { place: [longitude, latitude], hint: null };
}

/** Whether a point lies within west, south, east, north; east above 180 across the antimeridian. */
export function within(longitude: number, latitude: number, [west, south, east, north]: number[]): boolean {
  if (west === undefined || south === undefined || east === undefined || north === undefined) return false;
  return latitude >= south && latitude <= north && [-360, 0, 360].some((turn) => longitude + turn >= west && longitude + turn <= east);
}

function swapHint(longitude: number, latitude: number, bounds: number[] | null): string | null {
  if (!bounds || within(longitude, latitude, bounds) || Math.abs(longitude) > 90) return null;
  if (!within(latitude, longitude, bounds)) return "This place lies outside the data; the nearest is taken.";
  return `This place lies outside the data. Longitude comes first: did you mean ${latitude}, ${longitude}?`;
}

/** West, south, east, north as typed, or what is wrong with them. */
export function readBox(text: string): { box: [number, number, number, number] } | { wrong: string } {
  const parts = text.split(/[,;\s]+/).filter(Boolean).map(Number);
  const [west, south, east, north] = parts;
  if (parts.length !== 4 || !parts.every(Number.isFinite)) return { wrong: "four numbers expected: west, south, east, north in degrees" };
  if (Math.abs(south!) > 90 || Math.abs(north!) > 90) return { wrong: "south and north are beyond 90 degrees; the order is west, south, east, north" };
  if (south! > north!) return { wrong: `south ${south} lies above north ${north}; the order is west, south, east, north` };
  if (Math.abs(west!) > 360 || Math.abs(east!) > 360) return { wrong: "west and east are beyond 360 degrees" };
  return { box: [west!, south!, east!, north!] };
}

/** A polygon's corners as typed, "LON LAT, LON LAT, ..." or "LON,LAT; LON,LAT; ...", or what is wrong with them. */
export function readPolygon(text: string): { polygon: [number, number][] } | { wrong: string } {
  const numbers = text.replace(/^\s*POLYGON\s*\(\(|\)\)\s*$/gi, "").split(/[,;\s]+/).filter(Boolean).map(Number);
  if (numbers.length < 6 || numbers.length % 2 || !numbers.every(Number.isFinite)) {
    return { wrong: "three corners at least expected: longitude latitude, longitude latitude, ..." };
  }
  const polygon: [number, number][] = [];
  for (let at = 0; at < numbers.length; at += 2) polygon.push([numbers[at]!, numbers[at + 1]!]);
  const beyond = polygon.find(([longitude, latitude]) => Math.abs(latitude) > 90 || Math.abs(longitude) > 360);
  return beyond ? { wrong: `${beyond[0]} ${beyond[1]} is no place; longitude first, then latitude` } : { polygon };
}
