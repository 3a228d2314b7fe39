// Takes the pictures that job.json asks for, in headless Chromium; what was found goes to found.json.
//
//     node take.mjs JOB_FOLDER CHROMIUM
import { createServer } from 'node:http';
import { readFile, writeFile, mkdir } from 'node:fs/promises';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import axe from 'axe-core';

const [folder, browserPath] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const job = JSON.parse(await readFile(join(folder, 'job.json')));
const HEIGHT = 900;
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml', '.png': 'image/png' };

// The roots of what is served: the drawn dashboard, the icons of Grafana, and the pages that were fetched.
const roots = { board: join(folder, 'board'), public: join(here, 'node_modules/@grafana/ui/dist/public'), pages: join(folder, 'pages') };

async function answer(request, response) {
  const path = normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname)).slice(1);
  const [first, ...rest] = path.split('/');
  const file = first in roots ? join(roots[first], ...rest) : join(roots.board, path || 'index.html');
  try {
    const body = await readFile(file);
    response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(body);
  } catch (error) {
    response.writeHead(error.code === 'ENOENT' || error.code === 'EISDIR' ? 404 : 500).end(String(error.code));
  }
}

// A file of Grafana's with the ending .mjs gets the whole module, where it wants its default export.
const DEFAULT = 'react-custom-scrollbars-2';
const unwrapped = {
  name: 'unwrapped',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: new RegExp(`^${DEFAULT}$`) }, ({ path, namespace }) => (namespace === 'unwrapped' ? null : { path, namespace: 'unwrapped' }));
    onLoad({ filter: /.*/, namespace: 'unwrapped' }, () => ({ contents: `module.exports = require('${DEFAULT}').default`, resolveDir: here }));
  },
};

async function makeBoard() {
  await build({
    entryPoints: [join(here, 'board.tsx')], bundle: true, outfile: join(roots.board, 'board.js'), jsx: 'automatic', platform: 'browser',
    loader: { '.ttf': 'dataurl', '.woff': 'dataurl', '.woff2': 'dataurl', '.svg': 'dataurl' }, define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
    logLevel: 'error', minify: true, plugins: [unwrapped],
  });
  await writeFile(join(roots.board, 'index.html'), '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Dashboard</title>'
    + '<link rel="stylesheet" href="/board.css"></head><body><div id="root"></div><script src="/board.js"></script></body></html>');
}

// Returns, for each panel, its place and what does not fit in it.
function measured() {
  const clipped = (element) => element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX !== 'visible';
  const scrolls = (element) => element.scrollHeight > element.clientHeight + 2 && ['auto', 'scroll'].includes(getComputedStyle(element).overflowY);
  return [...document.querySelectorAll('[data-panel]')].map((panel) => {
    const parts = [...panel.querySelectorAll('*')].filter((part) => part.clientWidth > 0);
    const section = document.querySelector('#row').getBoundingClientRect();
    const box = (element) => {
      const at = element.getBoundingClientRect();
      return [at.x - section.x, at.y - section.y, at.width, at.height];
    };
    const canvas = panel.querySelector('canvas');
    return {
      id: panel.dataset.panel, box: box(panel), plot: canvas && box(canvas),
      clipped: parts.filter((part) => part.children.length === 0 && part.textContent && clipped(part)).map((part) => part.textContent),
      scrolls: parts.filter(scrolls).length > 0,
    };
  });
}

async function takeBoard(browser, url) {
  const found = [];
  for (const width of job.widths) {
    for (const [index, { name, panels }] of job.rows.entries()) {
      const page = await browser.newPage({ viewport: { width, height: HEIGHT } });
      const errors = [];
      page.on('pageerror', (error) => errors.push(String(error.stack)));
      await page.goto(`${url}/?row=${index}`);
      await page.waitForFunction((count) => document.querySelectorAll('[data-panel]').length === count, panels)
        .catch((error) => { throw new Error([String(error), ...errors].join('\n')); });
      const section = page.locator('#row');
      // All of it is in view, so that no part waits to be painted.
      await page.setViewportSize({ width, height: Math.ceil((await section.boundingBox()).height) });
      await page.evaluate(() => document.fonts.ready);
      await page.waitForTimeout(job.settle_ms);
      const picture = `${name}-${width}.png`;
      await section.screenshot({ path: join(folder, 'taken', picture), animations: 'disabled' });
      found.push({ width, picture, errors, report: await page.evaluate(() => window.report), panels: await page.evaluate(measured) });
      await page.close();
    }
  }
  return found;
}

// Loads the pictures that a reader would scroll to; returns the addresses of those that are missing.
async function missingPictures() {
  const images = [...document.images];
  images.forEach((image) => { image.loading = 'eager'; });
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  return images.filter((image) => image.naturalWidth === 0).map((image) => image.getAttribute('src'));
}

async function takePage(browser, url, one) {
  const found = [];
  for (const width of job.widths) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await browser.newPage({ viewport: { width, height: HEIGHT }, colorScheme });
      const answered = await page.goto(`${url}/pages/${one.path}`);
      const missing = await page.evaluate(missingPictures);
      const scroll = await page.evaluate(() => document.documentElement.scrollWidth);
      const text = await page.evaluate(() => document.body.innerText);
      const mute = await page.evaluate(() => [...document.querySelectorAll('.state, .note')].filter((part) => !part.textContent.trim()).length);
      if (one.shot && colorScheme === 'light') {
        await page.screenshot({ path: join(folder, 'taken', `${one.shot}-${width}.png`), fullPage: true });
      }
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => window.axe.run(document));
      found.push({
        path: one.path, width, colorScheme, status: answered.status(), scroll, text, mute, missing,
        axe: violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map((node) => node.html.slice(0, 160)) })),
      });
      await page.close();
    }
  }
  return found;
}

await mkdir(join(folder, 'taken'), { recursive: true });
const server = createServer(answer);
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const url = `http://127.0.0.1:${server.address().port}`;
const browser = await chromium.launch({ executablePath: browserPath, args: job.arguments });
try {
  await makeBoard();
  const board = await takeBoard(browser, url);
  const pages = [];
  for (const one of job.pages) pages.push(...await takePage(browser, url, one));
  await writeFile(join(folder, 'found.json'), JSON.stringify({ board, pages, chromium: browser.version() }));
} finally {
  await browser.close();
  server.close();
}
