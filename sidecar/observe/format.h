/* Envoy's format strings (%START_TIME% and so on), compiled once and run often. */
#ifndef OUTRIGGER_OBSERVE_FORMAT_H
#define OUTRIGGER_OBSERVE_FORMAT_H

#include "sidecar/base/arena.h"
#include "sidecar/base/buf.h"
#include "sidecar/base/err.h"
#include "sidecar/observe/stream_info.h"

struct format;

/* NULL with err filled on an unknown operator (named) or bad syntax. Lives in the arena. */
struct format *format_compile(struct arena *a, struct str text, struct err *err);
/* Istio's default access log line, without line end. A log line's end belongs to its format, as in Envoy. */
extern const char format_istio_default[];
/* Appends; a value that is absent prints as "-". headers NULL: there are none. */
void format_run(const struct format *f, const struct stream_info *info, stream_info_header_fn *headers, void *ctx,
                struct buf *out);
/* The same with nothing for a value that is absent: what a header's value is made by. */
void format_run_omit_absent(const struct format *f, const struct stream_info *info, stream_info_header_fn *headers,
                            void *ctx, struct buf *out);
/* True where the format is plain text, and that text. */
bool format_is_literal(const struct format *f, struct str *text_r);

/* A JSON line out of names and formats, Envoy's json_format: keys sorted, values of single operators keep their type
 * (absent: null), the line ends in \n. */
struct format_json;
struct format_json *format_json_new(struct arena *a);
/* False with err on a bad format or a key given before. */
bool format_json_add(struct format_json *j, struct str key, struct str text, struct err *err);
void format_json_run(const struct format_json *j, const struct stream_info *info, stream_info_header_fn *headers,
                     void *ctx, struct buf *out);

#endif
