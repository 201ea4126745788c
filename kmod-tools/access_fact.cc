#include "kernel_facts.h"
#include "trace/recorder.h"

namespace dedup {

KernelFact access_fact() {
  KernelFact fact{"access_recorder", Offered::kNo, "", ""};
  const auto recorder = Recorder::open();
  if (!recorder.ok()) {
    fact.detail = recorder.error().to_string();
    fact.advice = "see tp_btf";
    return fact;
  }
  fact.offered = Offered::kYes;
  fact.detail = "reads and page faults are seen, cached or not";
  if ((*recorder)->sight() == Sight::kMisses) {
    fact.detail = "only what comes into the page cache is seen, readahead included: no tracepoint";
    for (const std::string& name : (*recorder)->missing_tracepoints()) fact.detail += " " + name;
    fact.advice = "Linux 6.13 or later";
  }
  return fact;
}

}  // namespace dedup
