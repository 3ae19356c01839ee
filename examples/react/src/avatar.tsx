import type { CSSProperties, ReactNode } from 'react';
import type { Person } from './types';

/** The initials of somebody, in a colour of their own. */
export function Avatar({ of: { id, name } }: { of: Person }): ReactNode {
  const initials = name.trim().split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? '?').join('');
  const hue = [...id].reduce((sum, c) => (sum * 31 + c.codePointAt(0)!) % 360, 7);
  return (
    <span className="avatar" aria-hidden="true" style={{ '--hue': hue } as CSSProperties}>
      {initials.toUpperCase()}
    </span>
  );
}
