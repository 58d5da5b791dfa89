/* One canonical form of a request's path, for matching, policy and forwarding alike (RFC 3986 6.2.2). */
#ifndef OUTRIGGER_HTTP_PATH_H
#define OUTRIGGER_HTTP_PATH_H

#include "sidecar/base/arena.h"
#include "sidecar/base/str.h"

/* What to do with %2F, %2f, %5C and %5c: Envoy's path_with_escaped_slashes_action. */
enum path_escaped_slashes {
    PATH_SLASHES_KEEP,
    PATH_SLASHES_REJECT,
    PATH_SLASHES_REDIRECT, /* unescape and send the client there */
    PATH_SLASHES_FORWARD,  /* unescape and go on */
};

struct path_options {
    bool normalize;     /* normalize_path */
    bool merge_slashes;
    enum path_escaped_slashes escaped_slashes;
};

enum path_verdict {
    PATH_OK,       /* *path_r is the path to use, query and all */
    PATH_REDIRECT, /* answer 307 with Location: *path_r; details "path_normalization_failed" */
    PATH_BAD,      /* answer 400; details "path_normalization_failed" */
};

/* In Envoy's order: escaped slashes, then normalize, then merge. Only the part before '?' or '#' is touched; a
 * path that does not begin with '/' (OPTIONS *) is left alone. An unchanged path comes back as it is, a changed one
 * from the arena. The result, put in again, comes out the same.
 *
 * normalize decodes unreserved characters, escapes what a URI may not hold, takes '\' for '/', and removes dot
 * segments, also those with parameters ("..;x"). NUL, as %00 too, is bad.
 *
 * Three differences to Envoy 1.40, on the strict side: a dot segment with parameters is one in its escaped form too
 * ("%2e%2e;x"), its parameters end at '\' as well as at '/', and merging leaves "/" of a path that is nothing but
 * slashes (Envoy: "//"). */
enum path_verdict path_canonical(struct str path, const struct path_options *options, struct arena *arena,
                                 struct str *path_r);

#endif
