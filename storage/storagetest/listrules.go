package storagetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime/storage"
)

// shelf is in the order of bytes, which is not that of folders.
var shelf = []string{
	"a-b", "a.txt", "a/b", "aa", "ab-", "ab.c", "ab/c", "b/a-c/d", "b/a.c", "b/a/c", "b/b", "c", "c d/e", "z/z/z/z", "é/x",
}

func listIsInOrder(ctx context.Context, o storage.Objects) error {
	if got, _, err := list(ctx, o, "", 10); err != nil || len(got) != 0 {
		return fmt.Errorf("nothing is listed as %q, %v", got, err)
	}
	mixed := slices.Concat(shelf[7:], shelf[:7])
	if err := puts(ctx, o, mixed...); err != nil {
		return err
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "ab", "b/a", "b/a-c/d", "b/a-c/d/", "c ", "z/z", "é", "\xc3", "nothing", "/", "../", "."} {
		var want []string
		for _, path := range shelf {
			if strings.HasPrefix(path, prefix) {
				want = append(want, path)
			}
		}
		got, _, err := list(ctx, o, prefix, 100)
		if err != nil {
			return err
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("prefix %q: listed %q, want %q", prefix, got, want)
		}
	}
	return nil
}

func listGoesOn(ctx context.Context, o storage.Objects) error {
	var all []string
	for i := range 12 {
		all = append(all, fmt.Sprintf("page/%02d", i))
	}
	if err := puts(ctx, o, append(all, "other")...); err != nil {
		return err
	}
	for _, limit := range []int{1, 4, 5, 11, 12, 13} {
		got, pages, err := list(ctx, o, "page/", limit)
		if err != nil {
			return err
		}
		if want := (len(all) + limit - 1) / limit; !slices.Equal(got, all) || pages != want {
			return fmt.Errorf("%d at a time: %d pages of %q, want %d of %q", limit, pages, got, want, all)
		}
	}
	// What the last page ended with goes, and the list goes on.
	first, cursor, err := o.List(ctx, "page/", "", 4)
	if err != nil || len(first) != 4 || cursor == "" {
		return fmt.Errorf("the first page is %+v, %q, %v", first, cursor, err)
	}
	if err := o.Delete(ctx, first[3].Path); err != nil {
		return err
	}
	second, _, err := o.List(ctx, "page/", cursor, 4)
	if err != nil || len(second) != 4 || second[0].Path != all[4] {
		return fmt.Errorf("after the deleted object there are %+v, %v", second, err)
	}
	return nil
}
