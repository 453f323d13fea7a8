// What a VMX dashboard may be: the types that Grafana publishes, narrowed to the panels and the data source in use, so
// that an option of a table is not taken for one of a graph. `npm run schema` derives the JSON Schemas from it.
import type * as common from 'grafana/common';
import type * as raw from 'grafana/dashboard';
import type * as stat from 'grafana/stat';
import type * as table from 'grafana/table';
import type * as text from 'grafana/text';
import type * as timeline from 'grafana/timeline';
import type * as timeseries from 'grafana/timeseries';

// As in @grafana/prometheus 13.2.3, which would bring the whole user interface with it. What Grafana would guess where
// it is left out (format, instant, range) is required.
export interface PrometheusQuery extends common.DataQuery {
  expr: string;
  format: 'time_series' | 'table' | 'heatmap';
  instant: boolean;
  range: boolean;
  exemplar?: boolean;
  legendFormat?: string;
}

// As DataLink in @grafana/data.
export interface DataLink {
  title: string;
  url: string;
  targetBlank?: boolean;
}

export interface NoCustom {}
export interface TableCustom extends Partial<table.FieldConfig> {}
export interface TimelineCustom extends Partial<timeline.FieldConfig> {}
export interface TimeSeriesCustom extends Partial<timeseries.FieldConfig> {}

export interface Defaults<Custom> extends Omit<raw.FieldConfig, 'custom' | 'links'> {
  custom?: Custom;
  links?: DataLink[];
}

export interface Fields<Custom> extends Omit<raw.FieldConfigSource, 'defaults'> {
  defaults: Defaults<Custom>;
}

export interface Panel<Type, Options, Custom> extends Omit<raw.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> {
  type: Type;
  description: string;
  options: Options;
  fieldConfig?: Fields<Custom>;
  targets?: PrometheusQuery[];
}

export interface StatPanel extends Panel<'stat', Partial<stat.Options>, NoCustom> {}
export interface TablePanel extends Panel<'table', Partial<table.Options>, TableCustom> {}
export interface TextPanel extends Panel<'text', Partial<text.Options>, NoCustom> {}
export interface TimelinePanel extends Panel<'state-timeline', Partial<timeline.Options>, TimelineCustom> {}
export interface TimeSeriesPanel extends Panel<'timeseries', Partial<timeseries.Options>, TimeSeriesCustom> {}
export type AnyPanel = StatPanel | TablePanel | TextPanel | TimelinePanel | TimeSeriesPanel;

export interface Row extends Omit<raw.RowPanel, 'panels'> {
  panels: AnyPanel[];
}

export interface Dashboard extends Omit<raw.Dashboard, 'panels'> {
  panels: Array<AnyPanel | Row>;
}
