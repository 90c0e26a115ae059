// A client's have-map as a strip of blocks. The canvas has one pixel for each cell and is stretched by the style sheet, so that 500 strips cost
// next to nothing.

import {set} from './dom.js';
import {percent} from './human.js';

/** @type {{key: string, levels: Uint32Array, rest: Uint32Array}} */
let palette = {key: '', levels: new Uint32Array(16), rest: new Uint32Array(2)};

/** Reads the colours of the scheme that is in force; true when they are others than before. */
export function readColours() {
	const style = getComputedStyle(document.documentElement);
	const names = ['--strip-empty', '--strip-part', '--strip-full', '--strip-told'];
	const texts = names.map((name) => style.getPropertyValue(name).trim());
	const key = texts.join();
	if (key === palette.key) return false;
	const [empty, part, full, told] = texts.map(parse);
	palette = {key, levels: new Uint32Array(16), rest: new Uint32Array([pack(empty), pack(told)])};
	for (let i = 0; i < 15; i++) palette.levels[i] = pack(empty.map((v, n) => v + (part[n] - v) * (i === 0 ? 0 : 0.25 + 0.75 * i / 14)));
	palette.levels[15] = pack(full);
	return true;
}

/** @param {string} text #rrggbb */
const parse = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));

/** As a pixel in memory. @param {number[]} rgb */
const pack = ([r, g, b]) => new Uint32Array(new Uint8ClampedArray([r, g, b, 255]).buffer)[0];

/**
 * Unpacks a map: one level, 0 to 15, for each cell.
 * @param {string} text base64, 4 bits a cell
 * @param {number} cells
 */
export function unpack(text, cells) {
	const raw = atob(text), out = new Uint8Array(cells);
	for (let i = 0; i < cells; i++) {
		const byte = raw.charCodeAt(i >> 1);
		out[i] = i & 1 ? byte & 15 : byte >> 4;
	}
	return out;
}

/**
 * Draws a strip. Who told no map is drawn by its share alone, in a colour that says so.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array | null} map
 * @param {number} proven 0 to 1
 */
export function draw(canvas, map, proven) {
	const cells = map ? map.length : 256;
	if (canvas.width !== cells || canvas.height !== 1) {
		canvas.width = cells;
		canvas.height = 1;
	}
	const context = canvas.getContext('2d', {alpha: false});
	if (!context) return;
	const image = context.createImageData(cells, 1), pixels = new Uint32Array(image.data.buffer);
	const told = Math.round(proven * cells);
	for (let i = 0; i < cells; i++) pixels[i] = map ? palette.levels[map[i]] : palette.rest[i < told ? 1 : 0];
	context.putImageData(image, 0, 0);
	set(canvas, 'aria-label', says(map, proven));
	set(canvas, 'data-full', map ? String(map.reduce((n, level) => n + (level === 15 ? 1 : 0), 0)) : null);
}

/**
 * The strip in words.
 * @param {Uint8Array | null} map
 * @param {number} proven
 */
function says(map, proven) {
	if (!map) return `${percent(proven)} proven; where the gaps are it hasn’t told`;
	let gaps = 0;
	for (let i = 0; i < map.length; i++) if (map[i] < 15 && (i === 0 || map[i - 1] === 15)) gaps++;
	if (gaps === 0) return 'all proven';
	return `${percent(proven)} proven, in ${gaps === 1 ? 'one gap' : `${gaps} gaps`}`;
}
