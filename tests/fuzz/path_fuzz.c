/* path_canonical: a second pass changes nothing, and what comes out holds no dot segment and no byte that a
 * request line may not hold. */
#include "sidecar/http/path.h"

#include "sidecar/base/die.h"
#include "sidecar/http/guard.h"
#include "sidecar/http/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_segments(struct str path)
{
    struct str rest = str_sub(path, 1, path.n), segment;
    while (str_next(&rest, '/', &segment)) {
        assert(!str_eq(segment, STR(".")) && !str_eq(segment, STR("..")));
        assert(!str_has_prefix(segment, STR(".;")) && !str_has_prefix(segment, STR("..;")));
        assert(str_index(segment, '\\', 0) < 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    struct path_options o = {.normalize = data[0] & 1,
                             .merge_slashes = data[0] & 2,
                             .escaped_slashes = (enum path_escaped_slashes)((data[0] >> 2) & 3)};
    struct arena *arena = arena_new(256);
    struct str in = {(const char *)data + 1, n - 1}, once, twice;
    if (path_canonical(in, &o, arena, &once) != PATH_BAD) {
        enum path_verdict again = path_canonical(once, &o, arena, &twice);
        assert(again == PATH_OK && str_eq(once, twice));
        if (o.normalize && once.n > 0 && once.p[0] == '/') {
            check_segments(http_path_only(once));
            assert(guard_is_path(http_path_only(once)));
        }
        assert(!o.merge_slashes || once.n == 0 || once.p[0] != '/' ||
               str_find(http_path_only(once), STR("//")) < 0);
    }
    arena_free(&arena);
    return 0;
}
