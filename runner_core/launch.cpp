#include "launch.h"

#include <signal.h>

#include <algorithm>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "crash.h"
#include "engine.h"
#include "fault.h"
#include "job.h"
#include "measure.h"
#include "platform/clock.h"
#include "platform/process.h"
#include "records.h"
#include "sampler.h"

namespace phonebench {
namespace {

constexpr const char* kCompiler =
#if defined(__clang__)
    "clang " __VERSION__;
#else
    "gcc " __VERSION__;
#endif

// Call in a thread of its own, which is gone when this returns. What is allocated there comes from
// an arena of that thread (glibc's malloc), so that neither the words of a job (the length of the
// launch's name!) nor the making of its inputs decides how the model's tensors come to lie in the
// main arena: that can be worth 15% of a model's time.
template <typename Function, typename... Arguments>
auto apart(Function function, Arguments&&... arguments) {
  return std::async(std::launch::async, [&] { return function(arguments...); }).get();
}

Json engine_facts(const Engine& engine) {
  return {{"name", engine.name()}, {"version", engine.version()}};
}

Json device_facts() {
  const Device device = device_as_seen();
  return {{"machine", device.machine},
          {"kernel", device.kernel},
          {"cpus_online", device.cpus_online},
          {"page_bytes", device.page_bytes},
          {"memory_total_bytes", device.memory_total_bytes},
          {"cpuset", device.cpuset ? Json(*device.cpuset) : Json(nullptr)}};
}

Json clock_facts() {
  const ClockFacts clock = monotonic_clock();
  constexpr int kReadings = 1000;
  const int64_t start = now_ns();
  for (int i = 0; i < kReadings; ++i) now_ns();
  const int64_t cost = (now_ns() - start) / (kReadings + 1);
  return {{"name", clock.name}, {"resolution_ns", clock.resolution_ns}, {"read_cost_ns", cost}};
}

Json header_record(const Engine& engine, const Job* job, const ProcessStart& start) {
  return {{"type", "header"},
          {"record_version", kRecordVersion},
          {"launch", job ? job->launch : ""},
          {"engine", engine_facts(engine)},
          {"runner", {{"version", PHONEBENCH_RUNNER_VERSION}, {"compiler", kCompiler}}},
          {"device", device_facts()},
          {"clock", clock_facts()},
          {"exec_ns", start.exec_ns ? Json(*start.exec_ns) : Json(nullptr)},
          {"main_ns", start.main_ns},
          {"unix_ns", unix_ns()},
          {"job", job ? job->as_asked : Json(nullptr)}};
}

Json or_null(const std::optional<int64_t>& number) {
  return number ? Json(*number) : Json(nullptr);
}

Json mark_record(const char* name, bool with_pss) {
  const int64_t start = now_ns();
  const Memory memory = read_memory(with_pss);
  Json record = {{"type", "mark"},
                 {"name", name},
                 {"time_ns", start},
                 {"cost_ns", 0},
                 {"rss_bytes", memory.rss_bytes},
                 {"rss_anon_bytes", or_null(memory.rss_anon_bytes)},
                 {"rss_file_bytes", or_null(memory.rss_file_bytes)},
                 {"vm_hwm_bytes", memory.vm_hwm_bytes},
                 {"swap_bytes", memory.swap_bytes},
                 {"pss_bytes", or_null(memory.pss_bytes)},
                 {"os_threads", memory.os_threads}};
  record["cost_ns"] = now_ns() - start;
  return record;
}

Json actual_record(const Engine& engine, std::optional<double> resident) {
  const auto quantized = engine.quantized_engine();
  return {{"type", "actual"},
          {"threads", engine.threads()},
          {"affinity", get_affinity()},
          {"memory_format", engine.memory_format()},
          {"quantized_engine", quantized ? Json(*quantized) : Json(nullptr)},
          {"model_resident_fraction", resident ? Json(*resident) : Json(nullptr)}};
}

Json operators_record(int64_t iterations, const std::vector<OperatorTotals>& totals) {
  Json operators = Json::array();
  for (const OperatorTotals& one : totals) {
    operators.push_back({{"name", one.name},
                         {"calls", one.calls},
                         {"self_ns", one.self_ns},
                         {"total_ns", one.total_ns}});
  }
  return {{"type", "operators"}, {"iterations", iterations}, {"operators", operators}};
}

// The samples that there is room for. In the memory pass it must be next to nothing, and in the
// energy pass a block of work is long.
int64_t most_samples(const Job& job, const Loop& loop) {
  switch (job.measured_pass) {
    case Pass::kMemory:
      return std::min<int64_t>(loop.max_iterations, 4096);
    case Pass::kEnergy:
      return std::min<int64_t>(loop.max_iterations, 65536);
    default:
      return loop.max_iterations;
  }
}

// One launch, phase by phase. What fails throws a Fault; the current phase says where.
class Launch {
 public:
  Launch(const Job& job, Engine& engine, RecordWriter& out, Progress progress)
      : job_(job),
        engine_(engine),
        out_(out),
        progress_(progress),
        sampler_(apart(make_sampler, job)) {}

  void run() {
    record_mark("main");
    set_up();
    load_cold();
    infer_first();
    warm_up();
    idle("idle_before", "idle_before_done");
    measure();
    idle("idle_after", "idle_after_done");
    write_samples();
    check();
    load_warm();
    mark("end");
    sampler_->finish(out_);
  }

 private:
  static std::unique_ptr<Sampler> make_sampler(const Job& job) {
    return std::make_unique<Sampler>(job.probes);
  }

  void record_mark(const char* name) {
    out_.write(mark_record(name, job_.measured_pass == Pass::kMemory));
  }

  void mark(const char* name) {
    record_mark(name);
    sampler_->read_at_mark();
  }

  // What takes memory of the runner's own comes before the mark "engine_ready", and what writes
  // much after the mark that follows the steady loop: neither is the model's, nor idle.
  void set_up() {
    enter_phase("set_up");
    // Memory is measured as an application would use it, with the allocator as it is.
    if (job_.measured_pass != Pass::kMemory) freed_memory_kept_.emplace();
    warmup_.emplace(most_samples(job_, job_.warmup));
    steady_.emplace(most_samples(job_, job_.steady));
    sampler_->start();
    if (job_.affinity) pinned_.emplace(*job_.affinity);
    engine_.set_up(job_);
    mark("engine_ready");
    enter_phase("inputs");
    engine_.set_inputs(apart(make_inputs, job_.inputs));
    if (job_.drop_page_cache) drop_pages(job_.model_file);
    out_.write(actual_record(engine_, resident_fraction(job_.model_file)));
  }

  void load_cold() {
    enter_phase("cold_load");
    Samples samples(1);
    time_load(engine_, job_.model_file, samples);
    mark("model_loaded");
    out_.write(samples.record("cold_load", nullptr));
  }

  void infer_first() {
    enter_phase("first_inference");
    Samples samples(1);
    time_inference(engine_, samples);
    mark("first_inference_done");
    out_.write(samples.record("first_inference", nullptr));
  }

  void warm_up() {
    enter_phase("warmup");
    progress_("warming up");
    run_loop(engine_, job_.warmup, job_.delay_seconds, *warmup_);
    mark("warmup_done");
  }

  void idle(const char* phase, const char* done) {
    if (job_.measured_pass != Pass::kEnergy) return;
    enter_phase(phase);
    stay_idle(job_.baseline_seconds);
    mark(done);
  }

  void measure() {
    enter_phase("steady");
    progress_("measuring");
    const bool profiled = job_.measured_pass == Pass::kProfile;
    if (profiled) engine_.start_profile();
    counters_ = run_loop(engine_, job_.steady, job_.delay_seconds, *steady_);
    if (profiled) operators_ = engine_.stop_profile();
    mark("steady_done");
  }

  void write_samples() {
    out_.write(warmup_->record("warmup", nullptr));
    out_.write(job_.measured_pass == Pass::kProfile ? operators_record(steady_->count(), operators_)
                                                    : steady_->record("steady", &counters_));
  }

  void check() {
    enter_phase("checks");
    for (size_t sample = 0; sample < job_.checks.size(); ++sample) {
      engine_.set_inputs(make_inputs(job_.checks[sample]));
      engine_.prepare();
      engine_.infer();
      const std::vector<HostTensor> outputs = engine_.outputs();
      for (size_t index = 0; index < outputs.size(); ++index) {
        out_.write(
            output_record(static_cast<int>(sample), static_cast<int>(index), outputs[index]));
      }
    }
  }

  void load_warm() {
    if (job_.measured_pass != Pass::kLatency || job_.warm_loads == 0) return;
    enter_phase("warm_load");
    Samples samples(job_.warm_loads);
    for (int i = 0; i < job_.warm_loads; ++i) time_load(engine_, job_.model_file, samples);
    out_.write(samples.record("warm_load", nullptr));
  }

  const Job& job_;
  Engine& engine_;
  RecordWriter& out_;
  const Progress progress_;
  std::optional<FreedMemoryKept> freed_memory_kept_;
  std::optional<Pinned> pinned_;
  std::unique_ptr<Sampler> sampler_;
  std::optional<Samples> warmup_;
  std::optional<Samples> steady_;
  Counters counters_{};
  std::vector<OperatorTotals> operators_;
};

struct Order {
  RecordWriter out;
  std::optional<Job> job;
  std::optional<Fault> refusal;
};

// Open the result, read the job and write the header. Throws StorageError.
std::unique_ptr<Order> read_order(const char* job_path, const char* result_path,
                                  const Engine& engine, const ProcessStart& start) {
  auto order = std::unique_ptr<Order>(new Order{RecordWriter(result_path), {}, {}});
  try {
    order->job = read_job(job_path, engine.name());
  } catch (const Fault& fault) {
    order->refusal = fault;
  }
  const Job* job = order->job ? &*order->job : nullptr;
  order->out.write(header_record(engine, job, start));
  return order;
}

Outcome write_failure(RecordWriter& out, const char* kind, const char* message) {
  out.write(error_record(kind, current_phase(), message));
  return {Ending::kFailed, message};
}

// Do the job and write all records but the end. Throws StorageError.
Outcome write_records(Order& order, Engine& engine, Progress progress) {
  const CrashHandlers handlers(order.out);
  try {
    if (order.refusal) throw Fault(*order.refusal);
    Launch(*order.job, engine, order.out, progress).run();
    return {Ending::kOk, ""};
  } catch (const StorageError&) {
    throw;
  } catch (const Fault& fault) {
    return write_failure(order.out, fault.kind, fault.what());
  } catch (const std::exception& error) {
    return write_failure(order.out, "internal", error.what());
  }
}

// A file-size limit must come back as an error of write(), not as a signal.
class NoFileSizeSignal {
 public:
  NoFileSizeSignal() : before_(signal(SIGXFSZ, SIG_IGN)) {}
  ~NoFileSizeSignal() { signal(SIGXFSZ, before_); }
  NoFileSizeSignal(const NoFileSizeSignal&) = delete;
  NoFileSizeSignal& operator=(const NoFileSizeSignal&) = delete;

 private:
  void (*before_)(int);
};

}  // namespace

Outcome run_launch(const char* job_path, const char* result_path, const ProcessStart& start,
                   Progress progress) {
  enter_phase("job");
  const NoFileSizeSignal no_signal;
  try {
    const std::unique_ptr<Engine> engine = make_engine();
    const auto order = apart(read_order, job_path, result_path, *engine, start);
    Outcome outcome = write_records(*order, *engine, progress);
    const bool ok = outcome.ending == Ending::kOk;
    order->out.finish(ok, now_ns());
    progress(ok ? "done" : "failed");
    return outcome;
  } catch (const StorageError& error) {
    return {Ending::kNoResult, std::string("storage: ") + error.what()};
  } catch (const std::exception& error) {
    return {Ending::kNoResult, error.what()};
  }
}

Json runner_facts() {
  return {{"record_version", kRecordVersion},
          {"job_version", kJobVersion},
          {"runner", PHONEBENCH_RUNNER_VERSION},
          {"engine", engine_facts(*make_engine())},
          {"compiler", kCompiler}};
}

}  // namespace phonebench
