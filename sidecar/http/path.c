/* Canonical paths: pure functions over bytes, no state, any thread.
 *
 * Each pass writes into a scratch that is as long as it can ever need; a path that needs no pass is found by
 * one look at each byte and costs no memory. */
#include "sidecar/http/path.h"

#include "sidecar/base/die.h"
#include "sidecar/http/msg.h"

#include <string.h>

enum byte_class {
    PLAIN,
    UNRESERVED, /* decoded when it comes escaped */
    UNSAFE,     /* escaped when it comes plain */
    BAD,
};

static uint8_t class_of(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
        c == '.' || c == '_' || c == '~')
        return UNRESERVED;
    if (c <= 0x20 || c >= 0x7f)
        return BAD;
    return strchr("\"<>^`{|}", c) ? UNSAFE : PLAIN;
}

/* The value of the escape at s[i], or -1 where none stands. */
static int escape_at(struct str s, size_t i)
{
    if (i + 2 >= s.n || s.p[i] != '%')
        return -1;
    int high = ascii_hex(s.p[i + 1]), low = ascii_hex(s.p[i + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* The character at s[i] as it will be written: an escaped unreserved one decoded. *next_r is the place behind. */
static uint8_t char_at(struct str s, size_t i, size_t *next_r)
{
    int value = escape_at(s, i);
    if (value >= 0 && class_of((uint8_t)value) == UNRESERVED) {
        *next_r = i + 3;
        return (uint8_t)value;
    }
    *next_r = i + 1;
    return (uint8_t)s.p[i];
}

static bool is_separator(char c)
{
    return c == '/' || c == '\\';
}

static bool needs_normalizing(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c == '%' || c == '\\' || class_of(c) >= UNSAFE)
            return true;
        if (c == '.' && s.p[i - 1] == '/')
            return true;
    }
    return false;
}

/* 1 for ".", 2 for "..", escaped or not, with parameters or not; else 0. */
static unsigned dots_of(struct str segment)
{
    unsigned dots = 0;
    size_t i = 0, next = 0;
    while (i < segment.n && dots < 3 && char_at(segment, i, &next) == '.') {
        dots++;
        i = next;
    }
    if (dots > 2 || (i < segment.n && segment.p[i] != ';'))
        return 0;
    return dots;
}

struct writer {
    char *p;
    size_t n;
};

static void put(struct writer *w, uint8_t c)
{
    w->p[w->n++] = (char)c;
}

static void put_escaped(struct writer *w, uint8_t c)
{
    static const char digits[] = "0123456789ABCDEF";
    put(w, '%');
    put(w, (uint8_t)digits[c >> 4]);
    put(w, (uint8_t)digits[c & 15]);
}

/* A '%' that begins no escape. If decoding what follows would make it one, it is escaped itself, or the next
 * reader would decode twice. */
static void put_lone_percent(struct writer *w, struct str s, size_t i)
{
    size_t next = i + 1;
    for (int k = 0; k < 2; k++)
        if (next >= s.n || ascii_hex((char)char_at(s, next, &next)) < 0) {
            put(w, '%');
            return;
        }
    put_escaped(w, '%');
}

static bool put_segment(struct writer *w, struct str s)
{
    for (size_t i = 0, next; i < s.n; i = next) {
        int value = escape_at(s, i);
        uint8_t c = char_at(s, i, &next);
        if (value == 0)
            return false;
        if (c == '%' && value < 0)
            put_lone_percent(w, s, i);
        else if (c == '%')
            put(w, c);
        else if (class_of(c) == BAD)
            return false;
        else if (class_of(c) == UNSAFE)
            put_escaped(w, c);
        else
            put(w, c);
    }
    return true;
}

static void drop_last_segment(struct writer *w)
{
    if (w->n > 1)
        w->n--;
    while (w->p[w->n - 1] != '/')
        w->n--;
}

/* Invariant: before each segment the output ends in '/'. */
static bool normalize(struct str *path, struct arena *arena)
{
    if (!needs_normalizing(*path))
        return true;
    struct writer w = {.p = arena_alloc(arena, path->n * 3)};
    put(&w, '/');
    for (size_t from = 1, to; from <= path->n; from = to + 1) {
        for (to = from; to < path->n && !is_separator(path->p[to]); to++)
            ;
        struct str segment = str_n(path->p + from, to - from);
        unsigned dots = dots_of(segment);
        if (dots == 2)
            drop_last_segment(&w);
        if (dots > 0)
            continue;
        if (!put_segment(&w, segment))
            return false;
        if (to < path->n)
            put(&w, '/');
    }
    *path = str_n(w.p, w.n);
    return true;
}

static bool is_escaped_slash(struct str s, size_t i)
{
    int value = escape_at(s, i);
    return value == '/' || value == '\\';
}

static bool has_escaped_slash(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (is_escaped_slash(s, i))
            return true;
    return false;
}

static struct str unescape_slashes(struct str s, struct arena *arena)
{
    struct writer w = {.p = arena_alloc(arena, s.n)};
    for (size_t i = 0; i < s.n; i++) {
        if (is_escaped_slash(s, i)) {
            put(&w, (uint8_t)escape_at(s, i));
            i += 2;
        } else {
            put(&w, (uint8_t)s.p[i]);
        }
    }
    return str_n(w.p, w.n);
}

static struct str merge_slashes(struct str s, struct arena *arena)
{
    if (str_find(s, STR("//")) < 0)
        return s;
    struct writer w = {.p = arena_alloc(arena, s.n)};
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '/' || i == 0 || s.p[i - 1] != '/')
            put(&w, (uint8_t)s.p[i]);
    return str_n(w.p, w.n);
}

static struct str with_tail(struct str path, struct str tail, struct arena *arena)
{
    char *p = arena_alloc(arena, path.n + tail.n + 1);
    memcpy(p, path.p, path.n);
    memcpy(p + path.n, tail.p, tail.n);
    p[path.n + tail.n] = '\0';
    return str_n(p, path.n + tail.n);
}

enum path_verdict path_canonical(struct str path, const struct path_options *options,
                                 struct arena *arena, struct str *path_r)
{
    *path_r = path;
    if (path.n == 0 || path.p[0] != '/')
        return PATH_OK;
    struct str only = http_path_only(path);
    struct str tail = str_n(path.p + only.n, path.n - only.n);
    struct str now = only;
    bool slashes = options->escaped_slashes != PATH_SLASHES_KEEP && has_escaped_slash(only);
    if (slashes && options->escaped_slashes == PATH_SLASHES_REJECT)
        return PATH_BAD;
    if (slashes)
        now = unescape_slashes(now, arena);
    if (options->normalize && !normalize(&now, arena))
        return PATH_BAD;
    if (options->merge_slashes)
        now = merge_slashes(now, arena);
    if (now.p == only.p)
        return PATH_OK;
    *path_r = with_tail(now, tail, arena);
    bool redirect = slashes && options->escaped_slashes == PATH_SLASHES_REDIRECT;
    return redirect ? PATH_REDIRECT : PATH_OK;
}
