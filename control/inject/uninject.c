/* The way back: drops what stands between marks, restores what it replaced. Needs no YAML. */
#include "control/inject/inject.h"
#include "control/inject/lines.h"
#include "proto/codes.h"

static bool fault(struct findings *findings, const char *file, unsigned line, const char *message)
{
    findings_add(findings, &(struct finding){.level = FINDING_ERROR,
                                             .code = OG_INJECT_MARKS,
                                             .file = file,
                                             .line = line,
                                             .column = 1,
                                             .message = str_of(message),
                                             .fix = STR("take the marks and what stands between them out by hand")});
    return false;
}

bool uninject_text(struct str text, const char *file, struct findings *findings, struct buf *out)
{
    struct str rest = text, line;
    struct buf back = {0};
    unsigned number = 1, begun = 0;
    bool ok = true;
    for (; ok && lines_next(&rest, &line); number++) {
        bool is_end = lines_is(line, LINES_END), is_open_end = lines_is(line, LINES_END_OPEN);
        if (lines_is(line, LINES_BEGIN)) {
            ok = begun == 0 || fault(findings, file, number, "an injection begins inside of another");
            begun = number;
        } else if (is_end || is_open_end) {
            ok = begun > 0 || fault(findings, file, number, "an injection ends that has not begun");
            begun = 0;
            if (is_open_end && buf_len(&back) > 0)
                back.end--;
        } else if (begun == 0) {
            buf_append_str(&back, line);
        } else if (str_has_prefix(line, STR(LINES_WAS))) {
            buf_append_str(&back, str_sub(line, sizeof(LINES_WAS) - 1, line.n));
        }
    }
    if (ok && begun > 0)
        ok = fault(findings, file, begun, "an injection begins that does not end");
    if (ok)
        buf_append_str(out, buf_str(&back));
    buf_fini(&back);
    return ok;
}
