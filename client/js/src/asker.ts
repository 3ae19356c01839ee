import type { Done, Outbox } from './outbox.js';

/** Asks the server one question at a time, so that no answer is taken for that of another. */
export interface Asker {
  /** 1 while a question waits for its turn, 2 while it has no answer; 0 where nothing is asked. */
  state_: 0 | 1 | 2;
  /**
   * Asks, where there is a connection and nothing is asked already.
   *
   * @param make - makes the operation when its turn comes; undefined where there is nothing to ask by then
   * @param done - told what has come of it, if it was asked
   */
  ask_(make: () => object | undefined, done: Done): void;
}

/** @param sync - called when the next question may be asked */
export function createAsker(channel: string, outbox: Outbox, sync: () => void): Asker {
  const self: Asker = {
    state_: 0,
    ask_(make, done) {
      if (self.state_ || !outbox.isOpen_()) return;
      self.state_ = 1;
      const turn = (): object | undefined => {
        const op = make();
        if (!op) return undefined;
        self.state_ = 2;
        return { ...op, channel };
      };
      outbox.add_(turn, (error, answer) => {
        self.state_ = 0;
        if (error || answer) done(error, answer);
        sync();
      });
    },
  };
  return self;
}
