// Writes the golden files of the record format with the runner's own writer, and says what it makes
// of a job file. tests/schema/test_record.py compares them with tests/golden/, which the Python
// reader is checked against.
//
//   golden_records JOB.json FOLDER     writes FOLDER/{ok,failed,refused,signal}.jsonl
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "fault.h"
#include "inputs.h"
#include "job.h"
#include "measure.h"
#include "records.h"

using phonebench::Json;

namespace {

Json header(const phonebench::Job* job) {
  return {{"type", "header"},
          {"record_version", phonebench::kRecordVersion},
          {"launch", job ? job->launch : ""},
          {"engine", {{"name", "lite"}, {"version", "2.13.0"}}},
          {"runner", {{"version", "0.1.0"}, {"compiler", "gcc 12.2.0"}}},
          {"device",
           {{"machine", "aarch64"},
            {"kernel", "6.1.0"},
            {"cpus_online", 8},
            {"page_bytes", 4096},
            {"memory_total_bytes", 8000000000},
            {"cpuset", job ? Json("/top-app") : Json(nullptr)}}},
          {"clock", {{"name", "CLOCK_MONOTONIC"}, {"resolution_ns", 1}, {"read_cost_ns", 40}}},
          {"exec_ns", job ? Json(1000000) : Json(nullptr)},
          {"main_ns", 5000000},
          {"unix_ns", 1700000000000000000},
          {"job", job ? job->as_asked : Json(nullptr)}};
}

Json mark(const char* name, int64_t time_ns, const Json& pss) {
  return {{"type", "mark"},
          {"name", name},
          {"time_ns", time_ns},
          {"cost_ns", 25000},
          {"rss_bytes", 100 << 20},
          {"rss_anon_bytes", 60 << 20},
          {"rss_file_bytes", nullptr},
          {"vm_hwm_bytes", 120 << 20},
          {"swap_bytes", 0},
          {"pss_bytes", pss},
          {"os_threads", 1}};
}

Json actual() {
  return {{"type", "actual"},
          {"threads", 2},
          {"affinity", {4, 5}},
          {"memory_format", "contiguous"},
          {"quantized_engine", "qnnpack"},
          {"model_resident_fraction", 0.25}};
}

void write_ok(const std::string& path, const phonebench::Job& job) {
  phonebench::RecordWriter out(path);
  out.write(header(&job));
  out.write(mark("main", 5100000, nullptr));
  out.write(actual());
  phonebench::Samples steady(3);
  steady.add(6000000, 6001500);
  steady.add(6002000, 6003600);
  steady.add(6004000, 6005400);
  const phonebench::Counters counters{5400, 5300, 1, 2, 3, 0};
  out.write(mark("steady_done", 6006000, 90 << 20));
  out.write(steady.record("steady", &counters));
  out.write({{"type", "operators"},
             {"iterations", 3},
             {"operators",
              {{{"name", "aten::linear"}, {"calls", 3}, {"self_ns", 900}, {"total_ns", 4200}}}}});
  out.write({{"type", "trace"},
             {"name", "temperature"},
             {"unit", "celsius"},
             {"time_ns", {6000000, 7000000}},
             {"values", {31.5, 32.25}}});
  out.write({{"type", "sampling"},
             {"reads", 3},
             {"cpu_ns", 90000},
             {"wall_ns", 120000},
             {"failures",
              {{{"channel", "temperature"}, {"count", 1}, {"reason", "Permission denied"}}}}});
  const auto inputs = phonebench::make_inputs(job.inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    // bfloat16 never leaves a runner: it is widened before.
    if (inputs[i].dtype == phonebench::Dtype::kBfloat16) continue;
    out.write(phonebench::output_record(0, static_cast<int>(i), inputs[i]));
  }
  out.finish(true, 8000000);
}

void write_failed(const std::string& path, const phonebench::Job& job) {
  phonebench::RecordWriter out(path);
  out.write(header(&job));
  out.write(phonebench::error_record("model_load", "cold_load",
                                     "\"quotes\", \\ and \n, Gr\xC3\xB6\xC3\x9F"
                                     "e, and \xFF"));
  out.finish(false, 8000000);
}

// A job that is refused must give a refusal, whose words are part of the golden file.
void write_refused(const std::string& path) {
  phonebench::RecordWriter out(path);
  out.write(header(nullptr));
  try {
    phonebench::parse_job("{\"job_version\": 99}");
  } catch (const phonebench::Fault& fault) {
    out.write(phonebench::error_record(fault.kind, "job", fault.what()));
  }
  out.finish(false, 8000000);
}

void write_signal(const std::string& path, const phonebench::Job& job) {
  phonebench::RecordWriter out(path);
  out.write(header(&job));
  out.finish_in_signal_handler("SIGSEGV (a bad memory access)", "steady", 8000000);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s JOB.json FOLDER\n", argv[0]);
    return 2;
  }
  const std::string folder = argv[2];
  const phonebench::Job job = phonebench::read_job(argv[1], "lite");
  write_ok(folder + "/ok.jsonl", job);
  write_failed(folder + "/failed.jsonl", job);
  write_refused(folder + "/refused.jsonl");
  write_signal(folder + "/signal.jsonl", job);
  return 0;
}
