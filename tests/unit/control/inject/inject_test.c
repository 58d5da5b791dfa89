/* Texts through injection and back: what is added where, what becomes of the rest, what is refused. */
#include "control/inject/inject.h"
#include "control/inject/lines.h"
#include "sidecar/base/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct inject_params params = {.image = "img", .discovery = "10.77.0.1:15010", .ns = "default"};

struct outcome {
    struct arena *arena;
    struct findings findings;
    bool ok;
    char *text;
};

typedef bool inject_fn(struct str text, const char *file, const struct inject_params *p, struct findings *findings,
                       struct buf *out);

static struct outcome run(inject_fn *fn, const char *text)
{
    struct outcome o = {.arena = arena_new(4096)};
    struct buf out = {0};
    findings_init(&o.findings, o.arena);
    o.ok = fn(str_of(text), "x.yaml", &params, &o.findings, &out);
    assert_int_equal(o.ok, o.findings.errors == 0);
    o.text = buf_take(&out);
    return o;
}

static void done(struct outcome *o)
{
    arena_free(&o->arena);
    free(o->text);
}

static void assert_leads_back(const char *injected, const char *original)
{
    struct arena *arena = arena_new(4096);
    struct findings findings;
    struct buf out = {0};
    findings_init(&findings, arena);
    assert_true(uninject_text(str_of(injected), "x.yaml", &findings, &out));
    char *back = buf_take(&out);
    assert_string_equal(back, original);
    free(back);
    arena_free(&arena);
}

#define POD "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: a\n"

static void additions_stand_between_marks_and_lead_back(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        bool is_edited; /* else written anew */
    } rows[] = {
        {"a pod", POD, true},
        {"without a line end", "kind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: a", true},
        {"with CR LF", "kind: Pod\r\nmetadata:\r\n  name: p\r\nspec:\r\n  containers:\r\n  - name: a\r\n", true},
        {"labels and annotations that are there",
         "kind: Pod\nmetadata:\n  labels:\n    app: x\n  annotations:\n    b: c\nspec:\n  containers:\n  - name: a\n", true},
        {"init containers and volumes that are there",
         "kind: Pod\nmetadata: \n  name: p\nspec:\n  volumes:\n    - name: v\n      emptyDir: {}\n  initContainers:\n  - "
         "name: i\n  containers:\n  - name: a\n", true},
        {"comments, odd indentation, a dash alone",
         "# one\nkind: Pod   # two\nmetadata:\n       # three\n       name: p\nspec:\n containers:\n   -\n     name: a # four\n# five\n",
         true},
        {"between other documents", "---\na: b\n---\n" POD "---\nc: d\n...\n---\n# empty\n", true},
        {"a document mark with a comment", "--- # first\n" POD, true},
        {"empty annotations", "kind: Pod\nmetadata:\n  annotations:\nspec:\n  containers:\n  - name: a\n", false},
        {"annotations in flow style", "kind: Pod\nmetadata:\n  annotations: {a: b}\nspec:\n  containers:\n  - name: a\n", false},
        {"metadata in flow style", "kind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: a", false},
        {"JSON", "{\"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"a\"}]}}", false},
        {"a document mark with a value", "--- {kind: Pod, metadata: {name: p}, spec: {containers: [{name: a}]}}\n", false},
        {"no metadata", "kind: Pod\nspec:\n  containers:\n  - name: a\n", false},
        {"an anchored map that is used twice",
         "kind: Pod\nmetadata:\n  labels: &l\n    app: x\n  annotations: *l\nspec:\n  containers:\n  - name: a\n", false},
        {"a list of pods",
         "kind: List\nitems:\n- kind: Pod\n  metadata:\n    name: p\n  spec:\n    containers:\n    - name: a\n- kind: Service\n", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct outcome o = run(inject_text, rows[i].text);
        if (!o.ok || !strstr(o.text, LINES_BEGIN) || (strstr(o.text, LINES_WAS) == NULL) != rows[i].is_edited)
            fail_msg("%s: %s", rows[i].name, o.text);
        assert_non_null(strstr(o.text, "istio-proxy"));
        assert_leads_back(o.text, rows[i].text);
        done(&o);
    }
}

static void what_holds_no_pod_that_wants_a_sidecar_stays_as_it_is(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "# nothing\n",
        "kind: Service\nmetadata:\n  name: s\n",
        "kind: Pod\nmetadata:\n  labels:\n    sidecar.istio.io/inject: \"false\"\nspec:\n  containers:\n  - name: a\n",
        "kind: Pod\nmetadata:\n  annotations:\n    sidecar.istio.io/inject: \"false\"\nspec:\n  containers:\n  - name: a\n",
        "kind: Pod\nmetadata:\n  labels: {outrigger.dev/inject: 'false', sidecar.istio.io/inject: 'true'}\nspec:\n  containers: [{name: a}]\n",
        "kind: Pod\nmetadata:\n  name: p\nspec:\n  hostNetwork: true\n  containers:\n  - name: a\n",
        "kind: Pod\nmetadata:\n  namespace: kube-system\nspec:\n  containers:\n  - name: a\n",
        "kind: Pod\nmetadata:\n  annotations:\n    sidecar.istio.io/status: '{}'\nspec:\n  containers:\n  - name: a\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct outcome o = run(inject_text, rows[i]);
        assert_true(o.ok);
        assert_string_equal(o.text, rows[i]);
        done(&o);
    }
}

static void an_injected_text_is_left_alone(void **state)
{
    (void)state;
    struct outcome once = run(inject_text, POD), twice = run(inject_text, once.text);
    assert_true(twice.ok);
    assert_string_equal(twice.text, once.text);
    assert_int_equal(twice.findings.v[0].code, 502);
    done(&once);
    done(&twice);
}

static void a_label_beats_an_annotation_and_ours_beats_istio_s(void **state)
{
    (void)state;
    struct outcome o = run(inject_text, "kind: Pod\nmetadata:\n  labels:\n    sidecar.istio.io/inject: \"true\"\n  annotations:\n"
                                        "    sidecar.istio.io/inject: \"false\"\n    sidecar.istio.io/logLevel: info\n"
                                        "    outrigger.dev/logLevel: debug\nspec:\n  containers:\n  - name: a\n");
    assert_true(o.ok);
    assert_non_null(strstr(o.text, "- \"--log-level\"\n    - debug\n"));
    done(&o);
}

/* The values behind a flag of the init container, in the JSON form. */
static void assert_flag(const char *annotation, const char *flag, const char *value)
{
    char *text = xasprintf("kind: Pod\nmetadata:\n  annotations:\n    %s\nspec:\n  containers:\n  - name: a\n", annotation);
    struct outcome o = run(inject_json, text);
    char *expected = xasprintf("\"%s\",\n              \"%s\"", flag, value);
    if (!o.ok || !strstr(o.text, expected))
        fail_msg("%s: no %s in %s", annotation, expected, o.text);
    free(expected);
    free(text);
    done(&o);
}

static void annotations_become_flags_of_capture(void **state)
{
    (void)state;
    assert_flag("traffic.sidecar.istio.io/includeInboundPorts: \"80, 8080\"", "-b", "80,8080");
    assert_flag("traffic.sidecar.istio.io/includeInboundPorts: \"\"", "-b", "");
    assert_flag("traffic.sidecar.istio.io/excludeInboundPorts: \"9900\"", "-d", "15090,15021,15020,9900");
    assert_flag("outrigger.dev/excludeInboundPorts: \"1,2\"", "-d", "15090,15021,15020,1,2");
    assert_flag("traffic.sidecar.istio.io/includeOutboundIPRanges: 10.0.0.0/8,fd00::/8", "-i", "10.0.0.0/8,fd00::/8");
    assert_flag("traffic.sidecar.istio.io/excludeOutboundIPRanges: 10.0.0.1", "-x", "10.0.0.1");
    assert_flag("traffic.sidecar.istio.io/includeOutboundPorts: \"443\"", "-q", "443");
    assert_flag("traffic.sidecar.istio.io/excludeOutboundPorts: \"5432\"", "-o", "5432");
    assert_flag("traffic.sidecar.istio.io/excludeInterfaces: net1", "-c", "net1");
}

static void a_pod_that_is_not_in_order_is_refused_at_its_place(void **state)
{
    (void)state;
#define ANNOTATED(annotation)                                                                                                   \
    "kind: Pod\nmetadata:\n  name: p\n  annotations:\n    " annotation "\nspec:\n  containers:\n  - name: a\n"
    static const struct {
        const char *text;
        unsigned line, column;
        const char *message;
    } rows[] = {
        {"kind: Pod\nmetadata: [\n", 0, 0, ""},
        {"kind: Deployment\nmetadata:\n  name: d\n", 1, 1, "must be a pod template"},
        {"kind: Pod\nmetadata:\n  name: p\nspec:\n  containers: []\n", 5, 15, "must be a list of at least one container"},
        {"kind: Pod\nmetadata:\n  name: p\n", 1, 1, "must be a list of at least one container"},
        {"kind: Pod\nspec:\n  containers:\n  - name: istio-proxy\n", 4, 11, "the name istio-proxy belongs to injection"},
        {"kind: Pod\nmetadata: p\nspec:\n  containers:\n  - name: a\n", 2, 11, "must be a map"},
        {"kind: Pod\nmetadata:\n  labels: [a]\nspec:\n  containers:\n  - name: a\n", 3, 11, "must be a map"},
        {"kind: Pod\nspec:\n  volumes: {}\n  containers:\n  - name: a\n", 3, 12, "must be a list"},
        {"kind: Pod\nspec:\n  containers:\n  - name: a\n  - image: b\n", 5, 5, "must be a container with a name"},
        {ANNOTATED("sidecar.istio.io/logLevel: 7"), 5, 32, "must be a string, got \"7\""},
        {ANNOTATED("outrigger.dev/excludeInboundPorts: \"80,x\""), 5, 40, "must be a list of ports, got \"80,x\""},
        {ANNOTATED("outrigger.dev/excludeInboundPorts: \"*\""), 5, 40, "must be a list of ports, got \"*\""},
        {ANNOTATED("outrigger.dev/includeOutboundIPRanges: 10.0.0.0/33"), 5, 44,
         "must be a list of address ranges, got \"10.0.0.0/33\""},
        {ANNOTATED("sidecar.istio.io/interceptionMode: TPROXY"), 5, 40, "this mode is not built, got \"TPROXY\""},
        {ANNOTATED("sidecar.istio.io/proxyCPU: 1 core"), 5, 32, "must be a quantity, got \"1 core\""},
        {ANNOTATED("sidecar.istio.io/nativeSidecar: \"maybe\""), 5, 37, "must be \"true\" or \"false\", got \"maybe\""},
        {ANNOTATED("proxy.istio.io/config: '[]'"), 5, 28, "must be a YAML or JSON object, got \"[]\""},
        {ANNOTATED("status.sidecar.istio.io/port: \"8080\""), 5, 35, "another port than 15020 is not built, got \"8080\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct outcome o = run(inject_text, rows[i].text);
        assert_false(o.ok);
        assert_string_equal(o.text ? o.text : "", "");
        if (rows[i].line > 0) {
            assert_string_equal(o.findings.v[0].message.p, rows[i].message);
            assert_int_equal(o.findings.v[0].line, rows[i].line);
            assert_int_equal(o.findings.v[0].column, rows[i].column);
        }
        done(&o);
    }
}

/* Each with what is said of it, "" where there is nothing to say; the information that the pod was injected is not meant. */
static void nothing_of_istios_is_passed_over(void **state)
{
    (void)state;
#define PROBED(metadata, probe)                                                                                                 \
    "kind: Pod\nmetadata: {name: p" metadata "}\nspec:\n  containers:\n  - name: a\n    livenessProbe: {" probe "}\n"
    static const struct {
        const char *text, *said;
        bool ok;
    } rows[] = {
        {ANNOTATED("example.com/own: x"), "", true},
        {ANNOTATED("kubernetes.io/psp: x"), "", true},
        {ANNOTATED("sidecar.istio.io/logLevel: debug"), "", true},
        {ANNOTATED("outrigger.dev/logLevel: debug"), "", true},
        {ANNOTATED("sidecar.istio.io/rewriteAppHTTPProbers: \"false\""), "", true},
        {ANNOTATED("sidecar.istio.io/rewriteAppHTTPProbers: \"true\""),
         "warning OG0113 metadata.annotations[sidecar.istio.io/rewriteAppHTTPProbers]: probes are not rewritten and need not be", true},
        {ANNOTATED("proxy.istio.io/overrides: '{}'"), "warning OG0113 metadata.annotations[proxy.istio.io/overrides]: changes to", true},
        {ANNOTATED("traffic.sidecar.istio.io/excludeOutboundPort: \"1\""),
         "warning OG0113 metadata.annotations[traffic.sidecar.istio.io/excludeOutboundPort]: nothing is known by this name", true},
        {ANNOTATED("outrigger.dev/excludeOutboundPort: \"1\""), "warning OG0113 metadata.annotations[outrigger.dev/excludeOutboundPort]",
         true},
        {ANNOTATED("sidecar.istio.io/bootstrapOverride: own"),
         "error OG0111 metadata.annotations[sidecar.istio.io/bootstrapOverride]: a bootstrap of one's own is not built, got \"own\"", false},
        {ANNOTATED("inject.istio.io/templates: sidecar"), "", true},
        {ANNOTATED("inject.istio.io/templates: gateway"), "error OG0111 metadata.annotations[inject.istio.io/templates]", false},
        {ANNOTATED("traffic.sidecar.istio.io/kubevirtInterfaces: net1"), "error OG0111", false},
        {ANNOTATED("proxy.istio.io/config: '{concurrency: 2}'"), "", true},
        {ANNOTATED("proxy.istio.io/config: '{tracing: {}}'"), "warning OG0113 metadata.annotations[proxy.istio.io/config]: tracing is not",
         true},
        {"kind: Pod\nmetadata: {labels: {istio.io/rev: canary}}\nspec:\n  containers:\n  - name: a\n",
         "warning OG0113 metadata.labels[istio.io/rev]: there is one control plane without revisions", true},
        {PROBED("", "httpGet: {port: 8080}"), "", true},
        {PROBED("", "tcpSocket: {port: 8080}"), "warning OG0504 spec.containers[0].livenessProbe.tcpSocket: always succeeds", true},
        {PROBED(", annotations: {outrigger.dev/excludeInboundPorts: '8080'}", "tcpSocket: {port: 8080}"), "", true},
        {PROBED(", annotations: {outrigger.dev/includeInboundPorts: '80'}", "tcpSocket: {port: 8080}"), "", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct outcome o = run(inject_text, rows[i].text);
        const struct finding *f = &o.findings.v[0];
        struct buf said = {0};
        if (f->level != FINDING_INFO)
            buf_printf(&said, "%s OG%04u %.*s: %.*s", finding_level_name(f->level), f->code, STR_FMT(f->path), STR_FMT(f->message));
        struct str got = buf_len(&said) > 0 ? buf_str(&said) : STR("");
        if (o.ok != rows[i].ok || !str_has_prefix(got, str_of(rows[i].said)) || (rows[i].said[0] == '\0') != (got.n == 0))
            fail_msg("%s: got \"%.*s\", expected \"%s\"", rows[i].text, STR_FMT(got), rows[i].said);
        buf_fini(&said);
        done(&o);
    }
}

static void metadata_of_the_proxy_is_its_environment(void **state)
{
    (void)state;
    struct outcome o = run(inject_text, ANNOTATED("proxy.istio.io/config: '{proxyMetadata: {OUTRIGGER_SO_MARK: \"7\"}}'"));
    assert_true(o.ok);
    assert_non_null(strstr(o.text, "name: OUTRIGGER_SO_MARK"));
    assert_non_null(strstr(o.text, "prometheus.io/scrape"));
    done(&o);
    o = run(inject_text, ANNOTATED("prometheus.istio.io/merge-metrics: \"false\""));
    assert_true(o.ok && !strstr(o.text, "prometheus.io/scrape"));
    done(&o);
}

static void a_sidecar_that_is_not_native_is_the_first_container(void **state)
{
    (void)state;
    struct outcome o = run(inject_text, "kind: Pod\nmetadata:\n  annotations:\n    sidecar.istio.io/nativeSidecar: \"false\"\n"
                                        "spec:\n  containers:\n  - name: a\n");
    assert_true(o.ok);
    const char *containers = strstr(o.text, "\n  containers:\n"), *proxy = strstr(o.text, "- name: istio-proxy");
    assert_true(containers && proxy > containers && strstr(o.text, "- name: a\n") > proxy);
    assert_null(strstr(o.text, "startupProbe"));
    done(&o);
}

static void marks_of_an_earlier_injection_are_not_mixed_with_new_ones(void **state)
{
    (void)state;
    struct outcome once = run(inject_text, POD);
    char *two = xasprintf("%s---\n" POD, once.text);
    struct outcome o = run(inject_text, two);
    assert_false(o.ok);
    assert_string_equal(o.findings.v[o.findings.count - 1].message.p, "an earlier injection has left its marks here");
    free(two);
    done(&once);
    done(&o);
}

static void marks_that_do_not_match_are_refused_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned line;
    } rows[] = {
        {"a: b\n  " LINES_BEGIN "\n", 2},
        {LINES_END "\n", 1},
        {LINES_END_OPEN, 1},
        {LINES_BEGIN "\n" LINES_BEGIN "\n" LINES_END "\n", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(4096);
        struct findings findings;
        struct buf out = {0};
        findings_init(&findings, arena);
        assert_false(uninject_text(str_of(rows[i].text), "x.yaml", &findings, &out));
        assert_int_equal(findings.v[0].line, rows[i].line);
        assert_int_equal(buf_len(&out), 0);
        arena_free(&arena);
    }
}

static void the_json_form_holds_all_documents(void **state)
{
    (void)state;
    struct outcome o = run(inject_json, "kind: Service\n---\n" POD "---\nkind: List\nitems:\n- kind: A\n- kind: B\n");
    assert_true(o.ok);
    json_t *list = json_loads(o.text, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(list, "items")), 4);
    json_decref(list);
    done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(additions_stand_between_marks_and_lead_back),
        cmocka_unit_test(what_holds_no_pod_that_wants_a_sidecar_stays_as_it_is),
        cmocka_unit_test(an_injected_text_is_left_alone),
        cmocka_unit_test(a_label_beats_an_annotation_and_ours_beats_istio_s),
        cmocka_unit_test(annotations_become_flags_of_capture),
        cmocka_unit_test(a_pod_that_is_not_in_order_is_refused_at_its_place),
        cmocka_unit_test(nothing_of_istios_is_passed_over),
        cmocka_unit_test(metadata_of_the_proxy_is_its_environment),
        cmocka_unit_test(a_sidecar_that_is_not_native_is_the_first_container),
        cmocka_unit_test(marks_of_an_earlier_injection_are_not_mixed_with_new_ones),
        cmocka_unit_test(marks_that_do_not_match_are_refused_with_their_line),
        cmocka_unit_test(the_json_form_holds_all_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
