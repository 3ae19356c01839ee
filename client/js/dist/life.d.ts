/** What happens to a page that concerns its connections. */
export interface Life {
    /** The network came back, or the page is being looked at again. */
    wake(): void;
    /** The page goes away: into the back/forward cache, or for good. */
    hide(): void;
    /** The page is shown: for the first time, or again. */
    show(): void;
}
/** Watches the page until the returned function is called. Where there is no page (Node), nothing ever happens. */
export declare function watchLife(life: Life): () => void;
