// Where the memory of a model comes to lie, which must not depend on the words of the job: a launch
// whose engine, in place of a model, allocates some chunks as it loads.
//
//   model_heap JOB RESULT     prints the chunks' distances from one that was there before the
//   launch
#include <cstdio>
#include <cstdlib>

#include "engine.h"
#include "launch.h"
#include "platform/clock.h"

namespace {

const char* first_chunk;

class ChunkEngine : public phonebench::Engine {
 public:
  std::string name() const override { return "lite"; }
  std::string version() const override { return "0"; }
  void set_up(const phonebench::Job&) override {}
  void set_inputs(std::vector<phonebench::HostTensor>) override {}
  int threads() const override { return 1; }
  std::optional<std::string> quantized_engine() const override { return std::nullopt; }
  std::string memory_format() const override { return "contiguous"; }
  void load(const std::string&) override {
    for (const size_t bytes : {24u, 1000u, 5000u, 60000u}) {
      const auto* chunk = static_cast<const char*>(std::malloc(bytes));  // held to the end
      std::printf("%td\n", chunk - first_chunk);
    }
  }
  void unload() override {}
  void prepare() override {}
  void infer() override {}
  std::vector<phonebench::HostTensor> outputs() override { return {}; }
  void start_profile() override {}
  std::vector<phonebench::OperatorTotals> stop_profile() override { return {}; }
};

}  // namespace

namespace phonebench {
std::unique_ptr<Engine> make_engine() { return std::make_unique<ChunkEngine>(); }
}  // namespace phonebench

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int64_t main_ns = phonebench::now_ns();
  first_chunk = static_cast<const char*>(std::malloc(16));
  const auto outcome =
      phonebench::run_launch(argv[1], argv[2], {std::nullopt, main_ns}, [](const char*) {});
  return outcome.ending == phonebench::Ending::kOk ? 0 : 1;
}
