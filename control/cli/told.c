/* The way back of findings_json(). Stateless. */
#include "control/cli/told.h"

#include <string.h>

static enum finding_level level_of(const char *name)
{
    for (enum finding_level level = FINDING_INFO; level < FINDING_ERROR; level++) {
        if (name && strcmp(name, finding_level_name(level)) == 0)
            return level;
    }
    return FINDING_ERROR;
}

static struct str text_of(const json_t *finding, const char *key)
{
    const char *text = json_string_value(json_object_get(finding, key));
    return text ? str_of(text) : STR("");
}

/* "OG0106" */
static unsigned code_of(const json_t *finding)
{
    struct str text = text_of(finding, "code");
    uint64_t code = 0;
    if (text.n > 2)
        str_to_u64(str_sub(text, 2, text.n), &code);
    return (unsigned)code;
}

void told_findings(const json_t *array, struct findings *to)
{
    size_t i;
    json_t *f;
    json_array_foreach(array, i, f) {
        findings_add(to, &(struct finding){
                             .level = level_of(json_string_value(json_object_get(f, "level"))),
                             .code = code_of(f),
                             .file = text_of(f, "file").p,
                             .line = (unsigned)json_integer_value(json_object_get(f, "line")),
                             .column = (unsigned)json_integer_value(json_object_get(f, "column")),
                             .object = text_of(f, "origin"),
                             .path = text_of(f, "path"),
                             .message = text_of(f, "message"),
                             .fix = text_of(f, "fix"),
                         });
    }
}
