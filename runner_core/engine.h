// What the measuring core needs of an inference engine. One file in engines/ implements it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inputs.h"
#include "job.h"

namespace phonebench {

struct OperatorTotals {
  std::string name;
  int64_t calls;
  int64_t self_ns;
  int64_t total_ns;
};

// One engine, holding at most one model. Calls come from one thread, in the order written here.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual std::string name() const = 0;
  virtual std::string version() const = 0;

  // Apply the job's settings, before the engine makes a thread.
  virtual void set_up(const Job& job) = 0;

  // Take the inputs of the inferences that follow, in the job's memory format.
  virtual void set_inputs(std::vector<HostTensor> inputs) = 0;

  // What is in force, read back from the engine.
  virtual int threads() const = 0;
  virtual std::optional<std::string> quantized_engine() const = 0;
  virtual std::string memory_format() const = 0;

  // Load a model, instead of the one before. Throws Fault "model_load" or "missing_operator".
  virtual void load(const std::string& path) = 0;
  virtual void unload() = 0;

  // Outside of the timed region: drop the outputs of the inference before, make ready the next.
  virtual void prepare() = 0;
  // The timed region: one inference. Throws Fault "inference".
  virtual void infer() = 0;
  // The outputs of the inference before, flattened in order; floating types as float32.
  virtual std::vector<HostTensor> outputs() = 0;

  virtual void start_profile() = 0;
  virtual std::vector<OperatorTotals> stop_profile() = 0;
};

// Each runner is linked with exactly one engine, which defines this.
std::unique_ptr<Engine> make_engine();

}  // namespace phonebench
