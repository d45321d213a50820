// PyTorch's lite interpreter (.ptl), through libtorch.
//
// Written against torch 2.13; builds against 2.1 too, whose headers have the same few names.
#include "engines/lite.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <torch/csrc/jit/mobile/import.h>
#include <torch/custom_class.h>
#include <torch/version.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

#include "fault.h"
#include "platform/clock.h"

namespace phonebench {
namespace {

constexpr std::pair<Dtype, at::ScalarType> kScalarTypes[] = {
    {Dtype::kFloat32, at::kFloat},  {Dtype::kFloat16, at::kHalf}, {Dtype::kBfloat16, at::kBFloat16},
    {Dtype::kFloat64, at::kDouble}, {Dtype::kInt64, at::kLong},   {Dtype::kInt32, at::kInt},
    {Dtype::kInt16, at::kShort},    {Dtype::kInt8, at::kChar},    {Dtype::kUint8, at::kByte},
    {Dtype::kBool, at::kBool}};

at::ScalarType to_scalar_type(Dtype dtype) {
  for (const auto& [ours, theirs] : kScalarTypes) {
    if (ours == dtype) return theirs;
  }
  throw Fault("internal", std::string("no scalar type for ") + dtype_name(dtype));
}

Dtype to_dtype(at::ScalarType type) {
  for (const auto& [ours, theirs] : kScalarTypes) {
    if (theirs == type) return ours;
  }
  throw Fault("inference", std::string("an output has the type ") + c10::toString(type) +
                               ", which cannot be recorded");
}

// On arm64 libtorch multiplies matrices with OpenBLAS, whose threads at::set_num_threads does not
// reach: one thread asked for would be all cores. Where there is no OpenBLAS, nothing is to do.
void set_blas_threads(int threads) {
  using Set = void (*)(int);
  const auto set = reinterpret_cast<Set>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
  if (set != nullptr) set(threads);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// The part of an engine's message that a person needs: its first line, not its C++ trace.
std::string first_line(const std::exception& error) {
  const auto* known = dynamic_cast<const c10::Error*>(&error);
  std::string text = known ? known->what_without_backtrace() : error.what();
  text.resize(std::min(text.find('\n'), text.size()));
  const size_t no_context = text.rfind(" ()");  // c10 ends some messages with an empty context
  if (no_context != std::string::npos && no_context + 3 == text.size()) text.resize(no_context);
  return text;
}

std::string first_bytes(const std::string& path, size_t count) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(count, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<size_t>(file.gcount()));
  return bytes;
}

// The classes of torch.classes that a file names and this engine lacks, "xnnpack.Conv2dOpContext".
// torch meets them before it looks for operators, and fails on an assertion that names none.
std::string missing_classes(const std::string& path) {
  const std::string_view kPrefix = "__torch__.torch.classes.";
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  std::set<std::string> missing;
  for (size_t at = bytes.find(kPrefix); at != std::string::npos; at = bytes.find(kPrefix, at + 1)) {
    const auto space = bytes.begin() + static_cast<std::ptrdiff_t>(at + kPrefix.size());
    const auto dot = std::find_if_not(space, bytes.end(), is_word);
    // Pickles separate a module from its class by a line break, flatbuffers by a dot.
    if (dot == bytes.end() || (*dot != '.' && *dot != '\n')) continue;
    const auto end = std::find_if_not(dot + 1, bytes.end(), is_word);
    const std::string name = std::string(space, dot) + "." + std::string(dot + 1, end);
    if (!torch::getCustomClass(std::string(kPrefix) + name)) missing.insert(name);
  }
  std::string list;
  for (const std::string& name : missing) list += (list.empty() ? "" : ", ") + name;
  return list;
}

// Say why a model does not load, in one line. What torch says is kept unless it misleads: for most
// files that are no model at all it speaks of checkpoints and of its zip library.
Fault load_fault(const std::string& path, const std::string& reason) {
  const auto says = [&](const char* text) { return reason.find(text) != std::string::npos; };
  const auto fault = [&](const std::string& why) { return Fault("model_load", path + " " + why); };
  if (says("ops cannot be found")) {
    const size_t list = reason.find('[');
    return Fault("missing_operator", path + " needs operators that this engine lacks: " +
                                         reason.substr(list, reason.find(']') - list + 1));
  }
  if (says("No such file")) return fault("does not exist");
  if (says("errno")) return fault("cannot be read: " + reason);
  if (says("bytecode.pkl")) {
    return fault("holds no bytecode for the lite interpreter (a checkpoint, or full TorchScript?)");
  }
  const std::string bytes = first_bytes(path, 8);
  if (bytes.empty()) return fault("is empty, or no file");
  const bool is_zip = bytes.compare(0, 4, "PK\x03\x04") == 0;
  const bool is_flatbuffer = bytes.size() == 8 && bytes.compare(4, 4, "PTMF") == 0;
  if (!is_zip && !is_flatbuffer) return fault("is no model of the lite interpreter");
  if (says("zip archive"))
    return fault("is damaged or cut short: " + reason.substr(0, reason.find(". This is")));
  const std::string classes = missing_classes(path);
  if (!classes.empty()) {
    return Fault("missing_operator",
                 path + " needs operators that this engine lacks: those on [" + classes + "]");
  }
  return fault("does not load: " + reason);
}

at::Tensor to_tensor(const HostTensor& source, bool channels_last) {
  const auto options = at::TensorOptions().dtype(to_scalar_type(source.dtype));
  // from_blob's tensor borrows the bytes; the copy owns its own, in the layout asked for.
  const at::Tensor borrowed =
      at::from_blob(const_cast<unsigned char*>(source.bytes.data()), source.shape, options);
  const bool reorder = channels_last && source.shape.size() == 4;
  at::Tensor own =
      at::empty(source.shape, options,
                reorder ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
  own.copy_(borrowed);
  return own;
}

HostTensor to_host(at::Tensor tensor) {
  if (tensor.is_quantized()) tensor = tensor.dequantize();
  const at::ScalarType type = tensor.scalar_type();
  if (type == at::kHalf || type == at::kBFloat16) tensor = tensor.to(at::kFloat);
  tensor = tensor.cpu().contiguous();
  HostTensor result{tensor.sizes().vec(), to_dtype(tensor.scalar_type()), {}};
  result.bytes.resize(tensor.nbytes());
  if (!result.bytes.empty()) {
    std::memcpy(result.bytes.data(), tensor.data_ptr(), result.bytes.size());
  }
  return result;
}

template <typename T>
HostTensor scalar(Dtype dtype, T value) {
  HostTensor result{{}, dtype, std::vector<unsigned char>(sizeof(T))};
  std::memcpy(result.bytes.data(), &value, sizeof(T));
  return result;
}

// Tuples, lists and dictionaries become their tensors, in their own order; None is left out.
void flatten(const c10::IValue& value, std::vector<HostTensor>& outputs) {
  if (value.isTensor()) {
    outputs.push_back(to_host(value.toTensor()));
  } else if (value.isTuple()) {
    for (const auto& item : value.toTupleRef().elements()) flatten(item, outputs);
  } else if (value.isList()) {
    for (const auto& item : value.toListRef()) flatten(item, outputs);
  } else if (value.isGenericDict()) {
    for (const auto& item : value.toGenericDict()) flatten(item.value(), outputs);
  } else if (value.isDouble()) {
    outputs.push_back(scalar(Dtype::kFloat64, value.toDouble()));
  } else if (value.isInt()) {
    outputs.push_back(scalar(Dtype::kInt64, value.toInt()));
  } else if (value.isBool()) {
    outputs.push_back(scalar(Dtype::kBool, value.toBool()));
  } else if (!value.isNone()) {
    throw Fault("inference", "an output is a " + value.tagKind() + ", which cannot be recorded");
  }
}

// The profile: self times from nesting, per thread, so that no lock is taken in an operator.
struct ThreadProfile {
  struct Open {
    int64_t start_ns;
    int64_t within_ns;  // spent in the operators that this one called
  };
  std::vector<Open> open;
  std::map<std::string, OperatorTotals, std::less<>> totals;
};

std::mutex profiles_lock;
std::vector<std::unique_ptr<ThreadProfile>> profiles;  // callbacks are plain functions

ThreadProfile& own_profile() {
  thread_local ThreadProfile* own = [] {
    const std::lock_guard<std::mutex> guard(profiles_lock);
    profiles.push_back(std::make_unique<ThreadProfile>());
    profiles.back()->open.reserve(256);
    return profiles.back().get();
  }();
  return *own;
}

std::unique_ptr<at::ObserverContext> operator_begins(const at::RecordFunction&) {
  own_profile().open.push_back({now_ns(), 0});
  return nullptr;
}

void operator_ends(const at::RecordFunction& function, at::ObserverContext*) {
  const int64_t end = now_ns();
  ThreadProfile& own = own_profile();
  const ThreadProfile::Open closed = own.open.back();
  own.open.pop_back();
  const int64_t total = end - closed.start_ns;
  if (!own.open.empty()) own.open.back().within_ns += total;
  const char* name = function.name();
  auto found = own.totals.find(std::string_view(name));
  if (found == own.totals.end()) {
    found = own.totals.emplace(name, OperatorTotals{name, 0, 0, 0}).first;
  }
  found->second.calls += 1;
  found->second.self_ns += total - closed.within_ns;
  found->second.total_ns += total;
}

// The threads of an earlier launch live on, and so do their profiles. No operator runs now.
void forget_profiles() {
  const std::lock_guard<std::mutex> guard(profiles_lock);
  for (const auto& profile : profiles) {
    profile->open.clear();
    profile->totals.clear();
  }
}

class LiteEngine : public Engine {
 public:
  // What belongs to torch and not to this engine is left as it was found.
  ~LiteEngine() override {
    if (callback_ != 0) at::removeCallback(callback_);
    if (quantized_engine_before_) at::globalContext().setQEngine(*quantized_engine_before_);
  }

  std::string name() const override { return "lite"; }
  std::string version() const override { return TORCH_VERSION; }

  void set_up(const Job& job) override {
    at::set_num_threads(job.threads);
    // torch takes this once in a process, and from nobody twice.
    if (at::get_num_interop_threads() != 1) at::set_num_interop_threads(1);
    set_blas_threads(job.threads);
    if (job.quantized_engine) select_quantized_engine(*job.quantized_engine);
    channels_last_ = job.channels_last;
  }

  void set_inputs(std::vector<HostTensor> inputs) override {
    inputs_.clear();
    for (HostTensor& input : inputs) {
      inputs_.emplace_back(to_tensor(input, channels_last_));
      input = HostTensor{};  // not held twice: the memory pass would see it
    }
  }

  int threads() const override { return at::get_num_threads(); }

  std::optional<std::string> quantized_engine() const override {
    return lower(at::toString(at::globalContext().qEngine()));
  }

  std::string memory_format() const override {
    size_t images = 0;
    for (const c10::IValue& input : inputs_) {
      const at::Tensor& tensor = input.toTensor();
      if (tensor.dim() != 4) continue;
      ++images;
      if (tensor.suggest_memory_format() != at::MemoryFormat::ChannelsLast) return "contiguous";
    }
    return images > 0 ? "channels_last" : "contiguous";
  }

  void load(const std::string& path) override {
    try {
      module_ = torch::jit::_load_for_mobile(path);
      method_.emplace(module_->get_method("forward"));
    } catch (const std::exception& error) {
      unload();
      throw load_fault(path, first_line(error));
    }
  }

  void unload() override {
    stack_.clear();
    method_.reset();
    module_.reset();
  }

  void prepare() override {
    check_input_count();
    stack_.clear();
    stack_.reserve(inputs_.size() + 1);  // the interpreter puts the module itself in front
    stack_.insert(stack_.end(), inputs_.begin(), inputs_.end());
  }

  void infer() override {
    try {
      method_->run(stack_);
    } catch (const std::exception& error) {
      throw Fault("inference", "forward(" + describe_inputs() + ") raised: " + first_line(error));
    }
  }

  std::vector<HostTensor> outputs() override {
    std::vector<HostTensor> flat;
    if (!stack_.empty()) flatten(stack_.front(), flat);
    return flat;
  }

  LiteContents contents() { return {*module_, inputs_}; }

  void start_profile() override {
    forget_profiles();
    callback_ = at::addGlobalCallback(at::RecordFunctionCallback(operator_begins, operator_ends)
                                          .scopes({at::RecordScope::FUNCTION}));
  }

  std::vector<OperatorTotals> stop_profile() override {
    at::removeCallback(callback_);
    callback_ = 0;
    std::map<std::string, OperatorTotals> sum;
    const std::lock_guard<std::mutex> guard(profiles_lock);
    for (const auto& profile : profiles) {
      for (const auto& [name, totals] : profile->totals) {
        OperatorTotals& all = sum.emplace(name, OperatorTotals{name, 0, 0, 0}).first->second;
        all.calls += totals.calls;
        all.self_ns += totals.self_ns;
        all.total_ns += totals.total_ns;
      }
    }
    std::vector<OperatorTotals> list;
    for (auto& item : sum) list.push_back(std::move(item.second));
    std::sort(list.begin(), list.end(), [](const OperatorTotals& a, const OperatorTotals& b) {
      return a.self_ns > b.self_ns;
    });
    return list;
  }

 private:
  // An engine that this build lacks is not an error here: the record says what is in force.
  void select_quantized_engine(const std::string& wanted) {
    const at::QEngine before = at::globalContext().qEngine();
    for (const at::QEngine engine : at::globalContext().supportedQEngines()) {
      if (lower(at::toString(engine)) != wanted) continue;
      quantized_engine_before_ = before;
      at::globalContext().setQEngine(engine);
    }
  }

  // The interpreter itself would read past its registers.
  void check_input_count() const {
    const size_t wanted = method_->function().num_inputs() - 1;  // the first is the module
    if (wanted == inputs_.size()) return;
    throw Fault("inference", "the model takes " + std::to_string(wanted) + " inputs; it is given " +
                                 std::to_string(inputs_.size()));
  }

  std::string describe_inputs() const {
    std::string text;
    for (const c10::IValue& input : inputs_) {
      const at::Tensor& tensor = input.toTensor();
      text += (text.empty() ? "" : ", ") + std::string(dtype_name(to_dtype(tensor.scalar_type())));
      text += Json(tensor.sizes().vec()).dump();
    }
    return text;
  }

  c10::InferenceMode inference_mode_;
  std::optional<at::QEngine> quantized_engine_before_;
  bool channels_last_ = false;
  std::vector<c10::IValue> inputs_;
  std::optional<torch::jit::mobile::Module> module_;
  std::optional<torch::jit::mobile::Method> method_;
  std::vector<c10::IValue> stack_;
  at::CallbackHandle callback_ = 0;
};

}  // namespace

std::unique_ptr<Engine> make_engine() { return std::make_unique<LiteEngine>(); }

LiteContents lite_contents(Engine& engine) { return dynamic_cast<LiteEngine&>(engine).contents(); }

}  // namespace phonebench
