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
/* Istio's default access log line, without line end. */
extern const char format_istio_default[];
void format_run(const struct format *f, const struct stream_info *info, stream_info_header_fn *headers, void *ctx,
                struct buf *out);
/* True where the format is plain text, and that text. */
bool format_is_literal(const struct format *f, struct str *text_r);

/* A JSON line out of names and formats, Envoy's json_format (values of single operators keep their type). */
struct format_json;
struct format_json *format_json_new(struct arena *a);
bool format_json_add(struct format_json *j, struct str key, struct str text, struct err *err);
void format_json_run(const struct format_json *j, const struct stream_info *info, stream_info_header_fn *headers,
                     void *ctx, struct buf *out);

#endif
