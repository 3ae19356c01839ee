/** `room:{id}` as a template literal type; `{id}` and `*` stand for any text. */
export type Pattern<Name extends string> = Name extends `${infer Before}{${string}}${infer After}` ? `${Before}${string}${Pattern<After>}` : Name extends `${infer Before}*${infer After}` ? `${Before}${string}${Pattern<After>}` : Name;
/** The channels that a map of channels, e.g. `{ 'room:{id}': ChatMessage }`, has. */
export type ChannelOf<Map> = {
    [Name in keyof Map & string]: Pattern<Name>;
}[keyof Map & string];
/** What a map of channels says of one channel; `unknown` where it says nothing. */
export type OfChannel<Map, Channel extends string> = [Found<Map, Channel>] extends [never] ? unknown : Found<Map, Channel>;
type Found<Map, Channel extends string> = {
    [Name in keyof Map & string]: Channel extends Pattern<Name> ? Map[Name] : never;
}[keyof Map & string];
export {};
