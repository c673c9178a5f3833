/** Tables for people: aligned, without borders, no wider than they need or may be. */
import Table from 'cli-table3';
import { clean, shorten } from './text.ts';

/** One column. */
export interface Column<Row> {
  readonly head: string;
  readonly cell: (row: Row) => string;
  /** Longer content is cut; default 40 characters. */
  readonly maxWidth?: number;
  readonly align?: 'left' | 'right';
  /** SGR color of a cell, where colors are wanted. */
  readonly color?: (row: Row) => Color | undefined;
}

const sgr = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 } as const;

/** A color by name. */
export type Color = keyof typeof sgr;

/** `text` in a color, when `enabled`. */
export function paint(text: string, color: Color | undefined, enabled: boolean): string {
  return enabled && color !== undefined ? `\u001b[${sgr[color]}m${text}\u001b[0m` : text;
}

const none = '';
const borderless = {
  top: none,
  'top-mid': none,
  'top-left': none,
  'top-right': none,
  bottom: none,
  'bottom-mid': none,
  'bottom-left': none,
  'bottom-right': none,
  left: none,
  'left-mid': none,
  mid: none,
  'mid-mid': none,
  right: none,
  'right-mid': none,
  middle: '  ',
};

/** The table as text. Every cell is cleaned of what a terminal would act on. */
export function renderTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  color: boolean,
): string {
  const table = new Table({
    chars: borderless,
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: columns.map((column) => column.align ?? 'left'),
  });
  table.push(columns.map((column) => paint(column.head, 'bold', color)));
  for (const row of rows) {
    table.push(
      columns.map((column) => {
        const text = shorten(clean(column.cell(row)), column.maxWidth ?? 40);
        return paint(text, column.color?.(row), color);
      }),
    );
  }
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}
