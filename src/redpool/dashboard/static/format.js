// Figures as people read them. No figure is ever more exact than it was measured.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function count(value) {
  return value === undefined || value === null ? "–" : grouped.format(value).replaceAll(",", "\u202f");
}

export function rate(value) {
  if (value === undefined || value === null) return "–";
  return value > 0 && value < 10 ? value.toFixed(1) : count(value);
}

// A duration in seconds: three digits at most, in the unit that fits.
export function seconds(value) {
  if (value === undefined || value === null) return "–";
  if (value <= 0) return "0";
  if (value < 0.0009995) return `${Math.max(1, Math.round(value * 1e6))} µs`;
  if (value < 0.0995) return `${digits(value * 1000)} ms`;
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  if (value < 99.5) return `${digits(value)} s`;
  return long(value);
}

// A wait, as the histograms tell them: none is told from another below their first bound.
export function waited(value) {
  return value !== undefined && value <= 0.0001 ? "< 100 µs" : seconds(value);
}

// A duration of which the seconds no longer matter.
export function long(value) {
  const minutes = Math.round(value / 60);
  if (value < 99.5) return `${Math.round(value)} s`;
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 72 ? `${hours} h` : `${Math.round(hours / 24)} d`;
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${Math.round(value / 1024)} KiB`;
  return `${digits(value / 1024 / 1024)} MiB`;
}

export function time(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

function digits(value) {
  if (value >= 99.5) return String(Math.round(value));
  return String(Number(value.toPrecision(2)));
}
