import { type Message } from './place.js';
/** What the tabs of a group say to each other about following. */
export interface Said<Ask> extends Message {
    /** A tab asks to follow. */
    ask?: Ask & {
        id: string;
    };
    /** The leader, to whom it cannot have as a follower. */
    no?: true;
}
/** What one attempt does at what the group decides. */
export interface Part<Ask, M extends Said<Ask>> {
    /** What the tab has to say of itself to follow; undefined while it does not know. */
    ask(): Ask | undefined;
    /** Begins a connection of its own, which ends in {@link Member.greeted}. */
    dial(): void;
    /** The own connection is for all, from now on. */
    lead(): void;
    /** As the leader, answers a tab that asks, unless it is too early. */
    serve(ask: Ask & {
        id: string;
    }): void;
    /** The leader has said yes. */
    follow(yes: M): void;
    /** The own connection is for this tab only. */
    alone(): void;
    /** Takes what the leader says; as the leader, what the others say to it. */
    hear(said: M): void;
    /** The attempt is over, and has to be repeated at once: the lead has changed. */
    again(): void;
}
/** One attempt of a client at a connection, as a member of the group of tabs that share it. */
export interface Member<M> {
    readonly id: string;
    say(message: M): void;
    begin(): void;
    /** The server has greeted the tab on its own connection: it belongs to the group of the name. */
    greeted(name: string): Promise<void>;
    /** Asks the leader once more. */
    retry(): void;
    /** What was asked for is no longer what is wanted. */
    forget(): void;
    /** Ends it. `known` says whether the server need not greet the tab again: whose page it is can have changed. */
    leave(known: boolean): void;
}
/** Makes the members of one client, one after the other. */
export declare function createMembers<Ask, M extends Said<Ask>>(): (part: Part<Ask, M>) => Member<M>;
