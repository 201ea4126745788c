#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "kernel_facts.h"

namespace dedup {
namespace {

// r0 = 0; exit
constexpr bpf_insn kDoNothing[] = {
    {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 0},
    {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
};

}  // namespace

KernelFact tp_btf_fact() {
  KernelFact fact{"tp_btf", Offered::kNo, "", ""};
  btf* types = btf__load_vmlinux_btf();
  if (types == nullptr) {
    fact.detail = std::string("no BTF of the kernel: ") + std::strerror(errno);
    fact.advice = "a kernel with CONFIG_DEBUG_INFO_BTF";
    return fact;
  }
  const int id = btf__find_by_name_kind(types, "btf_trace_sched_process_exit", BTF_KIND_TYPEDEF);
  btf__free(types);
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_RAW_TP,
              .attach_btf_id = static_cast<__u32>(id < 0 ? 0 : id));
  const UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_TRACING, "dedup_kcheck", "GPL", kDoNothing,
                                       std::size(kDoNothing), &options));
  const UniqueFd attached(program.valid() ? bpf_raw_tracepoint_open(nullptr, program.get()) : -1);
  if (attached.valid()) {
    fact.offered = Offered::kYes;
    fact.detail = "a program was attached to sched_process_exit";
  } else {
    fact.detail = std::string("a program cannot be ") + (program.valid() ? "attached" : "loaded") +
                  ": " + std::strerror(errno);
    fact.advice = "root with CAP_BPF and CAP_PERFMON, and no lockdown of BPF";
  }
  return fact;
}

}  // namespace dedup
