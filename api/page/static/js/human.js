// Numbers and times as people read them.

/**
 * A number of bytes, "6.1 MB", in units of 1,000.
 * @param {number} n
 */
export function bytes(n) {
	const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
	let i = 0;
	while (n >= 999.5 && i < units.length - 1) {
		n /= 1000;
		i++;
	}
	return `${i === 0 || n >= 99.95 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

/** @param {number} n bytes/s */
export const rate = (n) => `${bytes(n)}/s`;

/**
 * A share, "61 %". What isn't whole is never shown as 100 %, and what isn't nothing never as 0 %.
 * @param {number} share 0 to 1
 */
export function percent(share) {
	let n = Math.round(100 * share);
	if (n >= 100 && share < 1) n = 99;
	if (n <= 0 && share > 0) return '<1 %';
	return `${n} %`;
}

/**
 * A small share, "0.4 %".
 * @param {number} share
 */
export const fine = (share) => `${(100 * share).toFixed(share >= 0.0995 ? 0 : 1)} %`;

/**
 * A duration as a clock has it, "0:21", "1:02:03", "3 d 4 h".
 * @param {number} seconds
 */
export function clock(seconds) {
	const s = Math.max(0, Math.round(seconds));
	const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
	if (s >= 48 * 3600) return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
	if (s >= 3600) return `${Math.floor(s / 3600)}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
	return `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/**
 * How long ago something was, "12 s ago".
 * @param {string | number | Date} at
 */
export function ago(at) {
	const s = (Date.now() - new Date(at).getTime()) / 1000;
	if (s < 1.5) return 'now';
	if (s < 100) return `${Math.round(s)} s ago`;
	if (s < 5400) return `${Math.round(s / 60)} min ago`;
	if (s < 48 * 3600) return `${Math.round(s / 3600)} h ago`;
	return `${Math.round(s / 86400)} d ago`;
}

const times = new Intl.DateTimeFormat(undefined, {hour: '2-digit', minute: '2-digit', second: '2-digit'});
const dates = new Intl.DateTimeFormat(undefined, {year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit'});
const whole = new Intl.DateTimeFormat(undefined, {dateStyle: 'full', timeStyle: 'long'});

/** @param {string | number | Date} at in the viewer's zone */
export const time = (at) => times.format(new Date(at));

/** @param {string | number | Date} at in the viewer's zone */
export const date = (at) => dates.format(new Date(at));

/** @param {string | number | Date} at with its zone, for titles */
export const exactly = (at) => whole.format(new Date(at));

/**
 * "1 client", "3 clients".
 * @param {number} n
 * @param {string} one
 * @param {string} [many]
 */
export const count = (n, one, many) => `${n} ${n === 1 ? one : (many ?? `${one}s`)}`;
