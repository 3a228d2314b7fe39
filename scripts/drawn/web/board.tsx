// Draws one row of a dashboard with Grafana's own components, from answers of Prometheus.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import * as React from 'react';
import { createRoot } from 'react-dom/client';
import {
  applyFieldOverrides, createTheme, dateTime, getFieldDisplayName, getFieldDisplayValues, getFieldSeriesColor,
  Registry, ThemeContext, toDataFrame, type DataFrame, type FieldConfigPropertyItem,
} from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, Table, TimeSeries } from '@grafana/ui';

const theme = createTheme({ colors: { mode: 'dark' } });
const CELL = 30, GAP = 8, COLUMNS = 24, PADDING = 16;
const PHONE = 769; // Grafana stacks panels on narrower screens.
// What Grafana's panel plugins set where a dashboard is silent; the plugins themselves are on no registry.
const PLUGIN_DEFAULTS: Record<string, object> = {
  timeseries: {
    drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', spanNulls: false,
    pointSize: 5, showPoints: 'auto', axisPlacement: 'auto', axisColorMode: 'text', axisGridShow: undefined,
    scaleDistribution: { type: 'linear' }, stacking: { mode: 'none', group: 'A' }, thresholdsStyle: { mode: 'off' },
  },
  stat: {},
  table: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
};

type Given = { title: string; panels: any[] };
const report: Record<string, any> = {};
(window as any).report = report;

// A registry with exactly the properties that a panel sets, so that none is lost.
function registryOf(config: any): Registry<FieldConfigPropertyItem> {
  const names = new Set<string>(['color', 'unit', 'min', 'max', 'decimals', 'thresholds', 'mappings', 'noValue', 'displayName']);
  Object.keys(config.defaults.custom).forEach((name) => names.add(`custom.${name}`));
  (config.overrides ?? []).forEach((rule: any) => rule.properties.forEach((one: any) => names.add(one.id)));
  return new Registry<FieldConfigPropertyItem>(() => [...names].map((id) => ({
    id, name: id, path: id.replace(/^custom\./, ''), isCustom: id.startsWith('custom.'),
    process: (value: unknown) => value, shouldApply: () => true,
  }) as unknown as FieldConfigPropertyItem));
}

function framesOf(panel: any): DataFrame[] {
  const config = panel.fieldConfig;
  config.defaults.custom = { ...PLUGIN_DEFAULTS[panel.type], ...config.defaults.custom };
  return applyFieldOverrides({
    data: panel.frames.map(toDataFrame), fieldConfig: config, fieldConfigRegistry: registryOf(config),
    replaceVariables: (text: string) => text, theme, timeZone: 'utc',
  });
}

function Content({ panel, frames, range, width, height }: any) {
  if (panel.type === 'timeseries') {
    const times = { from: dateTime(range.from), to: dateTime(range.to), raw: { from: 'now-6h', to: 'now' } };
    report[panel.id].series = frames.map((frame: DataFrame) => {
      const field = frame.fields[1];
      const style = field.config.custom?.lineStyle;
      return {
        name: getFieldDisplayName(field, frame, frames), color: getFieldSeriesColor(field, theme).color,
        dash: style ? [style.fill, ...(style.dash ?? [])] : [], points: field.values.filter((value) => value != null).length,
      };
    });
    return <TimeSeries frames={frames} timeRange={times} timeZone="utc" width={width} height={height} structureRev={1}
      legend={panel.options.legend} options={panel.options} />;
  }
  if (panel.type === 'stat') {
    const shown = getFieldDisplayValues({
      data: frames, fieldConfig: panel.fieldConfig, reduceOptions: { values: false, ...panel.options.reduceOptions },
      replaceVariables: (text: string) => text, theme, timeZone: 'utc',
    });
    const { text, color, prefix, suffix } = shown[0].display;
    report[panel.id].value = { text: `${prefix ?? ''}${text}${suffix ?? ''}`, color, series: shown.length };
    return <BigValue value={shown[0].display} width={width} height={height} theme={theme} count={shown.length}
      colorMode={panel.options.colorMode} graphMode={panel.options.graphMode} textMode={panel.options.textMode}
      justifyMode={panel.options.justifyMode} />;
  }
  const frame = frames[0];
  report[panel.id].rows = frame?.length ?? 0;
  return frame ? <Table data={frame} width={width} height={height} showTypeIcons={false} /> : null;
}

function Panel({ panel, range, place }: any) {
  report[panel.id] = { title: panel.title, type: panel.type, unit: panel.fieldConfig.defaults.unit };
  const frames = React.useMemo(() => framesOf(panel), [panel]);
  return (
    <div data-panel={panel.id} style={{ position: 'absolute', ...place }}>
      <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height}>
        {(width: number, height: number) => <Content panel={panel} frames={frames} range={range} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

// Grafana's grid: 24 columns; on a phone, one panel below the other at the height that it has.
function placesOf(panels: any[], width: number) {
  const inner = width - 2 * PADDING, column = (inner - (COLUMNS - 1) * GAP) / COLUMNS, top = panels[0].gridPos.y;
  let below = 0;
  return panels.map(({ gridPos: at }) => {
    const height = at.h * (CELL + GAP) - GAP;
    if (width >= PHONE) {
      return { left: at.x * (column + GAP), top: (at.y - top) * (CELL + GAP), width: at.w * (column + GAP) - GAP, height };
    }
    const place = { left: 0, top: below, width: inner, height };
    below += height + GAP;
    return place;
  });
}

function Row({ row, range }: { row: Given; range: any }) {
  const places = placesOf(row.panels, document.documentElement.clientWidth);
  const height = Math.max(...places.map((place) => place.top + place.height));
  return (
    <section id="row" style={{ padding: PADDING, background: theme.colors.background.canvas }}>
      <h2 style={{ ...theme.typography.h4, margin: `0 0 ${GAP}px` }}>{row.title}</h2>
      <div style={{ position: 'relative', height }}>
        {row.panels.map((panel, place) => <Panel key={panel.id} panel={panel} range={range} place={places[place]} />)}
      </div>
    </section>
  );
}

(window as any).__grafana_public_path__ = '/public/';
const chosen = Number(new URLSearchParams(location.search).get('row'));
fetch('/board.json').then((answer) => answer.json()).then((board) => {
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Row row={board.rows[chosen]} range={board} />
    </ThemeContext.Provider>,
  );
});
