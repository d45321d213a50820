// The runner's measuring loop and bare loops, in one process over one loaded model, in turns: a
// block of inferences each, the order reversed from one round to the next. What memory lies where,
// which decides percents between two processes, is the same for all.
//
//   both_loops JOB.json ROUNDS LOOPS     the job's steady loop says how many inferences a block
//   has.
//                                        Prints a line a round: the medians of the first LOOPS of
//                                        these: the runner's loop, the bare one, calls of
//                                        forward(); in nanoseconds
#include <alloca.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "bare_loop.h"
#include "engines/lite.h"
#include "inputs.h"
#include "job.h"
#include "measure.h"
#include "median.h"
#include "platform/process.h"

namespace {

using Durations = std::vector<int64_t>;
constexpr size_t kMostLoops = 3;

// A block of each loop. All room is made before the first round: nothing but the model allocates
// from one to the next.
struct Round {
  explicit Round(int64_t iterations) : runner(iterations) {
    for (Durations& durations : bare) durations.reserve(static_cast<size_t>(iterations));
  }
  double median_of(size_t loop) const {
    if (loop > 0) return median(bare[loop - 1]);
    return median(runner.record("steady", nullptr)["duration_ns"].get<Durations>());
  }
  phonebench::Samples runner;
  Durations bare[kMostLoops - 1];
};

class Loops {
 public:
  Loops(const phonebench::Job& job, phonebench::Engine& engine)
      : job_(job), engine_(engine), contents_(phonebench::lite_contents(engine)) {}

  // Where the stack ends decides percents as well, and it would be another place for each loop:
  // every block has it somewhere else.
  void run(Round& round, size_t loop) {
    const size_t shift = 16 * (random_() % 256);
    static_cast<volatile char*>(alloca(shift + 16))[0] = 0;
    run_here(round, loop);
  }

 private:
  [[gnu::noinline]] void run_here(Round& round, size_t loop) {
    const int64_t iterations = job_.steady.max_iterations;
    if (loop == 0) {
      phonebench::run_loop(engine_, job_.steady, job_.delay_seconds, round.runner);
      engine_.prepare();  // drops the output, as the others do
    } else {
      const auto run_one = loop == 1 ? run_bare_loop : run_forward_loop;
      run_one(contents_.model, contents_.inputs, iterations, round.bare[loop - 1]);
    }
  }

  const phonebench::Job& job_;
  phonebench::Engine& engine_;
  phonebench::LiteContents contents_;
  std::minstd_rand random_;
};

void set_up(const phonebench::Job& job, phonebench::Engine& engine) {
  engine.set_up(job);
  engine.set_inputs(phonebench::make_inputs(job.inputs));
  engine.load(job.model_file);
  // Not by one of the loops: who counts what they do counts nothing of this.
  for (int64_t i = 0; i < job.warmup.max_iterations; ++i) {
    engine.prepare();
    engine.infer();
  }
  engine.prepare();
}

}  // namespace

int main(int argc, char** argv) {
  const size_t loops = argc == 4 ? static_cast<size_t>(std::atoi(argv[3])) : 0;
  if (loops < 1 || loops > kMostLoops) return 2;
  const auto engine = phonebench::make_engine();
  const phonebench::Job job = phonebench::read_job(argv[1], engine->name());
  const phonebench::FreedMemoryKept freed_memory_kept;
  set_up(job, *engine);

  std::vector<std::unique_ptr<Round>> rounds;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    rounds.push_back(std::make_unique<Round>(job.steady.max_iterations));
  }
  Loops all(job, *engine);
  bool reversed = false;
  for (const auto& round : rounds) {
    for (size_t i = 0; i < loops; ++i) all.run(*round, reversed ? loops - 1 - i : i);
    reversed = !reversed;
  }
  for (const auto& round : rounds) {
    for (size_t i = 0; i < loops; ++i) std::printf("%.1f ", round->median_of(i));
    std::printf("\n");
  }
  return 0;
}
