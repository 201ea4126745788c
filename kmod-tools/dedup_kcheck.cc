// dedup-kcheck: what this kernel offers to dedupd: which doors work, found out by using them, and
// what else there is. Exit status: 0 some door works, 1 none, 2 wrong usage.
#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/table.h"
#include "doors/erofs_mount.h"
#include "image/door_choice.h"
#include "kernel_facts.h"

namespace dedup {
namespace {

using nlohmann::json;

constexpr const char* kDefaultRoot = "/var/lib/dedup-snapshotter";
constexpr int kNoDoor = 1;

// Answers for the trial's segment alone.
class TrialFiller final : public SegmentFiller {
 public:
  explicit TrialFiller(DoorTrial& trial) : x_trial(trial) {}
  bool present(uint32_t, ByteRange) override { return x_trial.present(); }
  Task<Result<void>> ensure(uint32_t, ByteRange, Priority) override { co_return x_trial.fill(); }

 private:
  DoorTrial& x_trial;
};

// A folder on the file system of the pool, for as long as the object lives.
class ScratchFolder {
 public:
  explicit ScratchFolder(std::filesystem::path root) {
    std::error_code ignored;
    while (!std::filesystem::is_directory(root, ignored) && root.has_relative_path()) {
      root = root.parent_path();
    }
    x_path = (root / "dedup-kcheck-XXXXXX").string();
    x_valid = ::mkdtemp(x_path.data()) != nullptr;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    if (x_valid) std::filesystem::remove_all(x_path, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  bool valid() const { return x_valid; }
  const std::string& path() const { return x_path; }

 private:
  std::string x_path;
  bool x_valid = false;
};

// A complete image mounted from regular files, with and without O_DIRECT.
KernelFact mount_fact(DoorTrial& trial, const char* name, bool directio, const char* advice) {
  KernelFact fact{name, Offered::kNo, "", advice};
  auto outcome = trial.create();
  if (outcome.ok()) outcome = trial.fill();
  if (outcome.ok()) {
    outcome = mount_erofs(trial.image_path(), {trial.segment_path()}, trial.mountpoint(), directio);
  }
  if (outcome.ok()) {
    outcome = DoorTrial::read_back(trial.page_path());
    const auto unmounted = unmount(trial.mountpoint());
    if (outcome.ok()) outcome = unmounted;
  }
  trial.remove();
  fact.detail = outcome.ok() ? "an image was mounted and read" : outcome.error().to_string();
  if (outcome.ok()) {
    fact.offered = Offered::kYes;
    fact.advice.clear();
  }
  return fact;
}

struct Report {
  std::vector<DoorVerdict> doors;
  std::vector<KernelFact> facts;
  bool usable() const {
    return std::any_of(doors.begin(), doors.end(), [](const auto& door) { return door.usable; });
  }
};

Task<void> try_doors(Ring& ring, const DoorContext& context, DoorTrial& trial, Report& report) {
  ChosenDoor chosen = co_await choose_door(kDoorKinds, true, context, trial);
  report.doors = std::move(chosen.verdicts);
  if (chosen.door != nullptr) co_await chosen.door->stop();
  ring.stop();
}

Result<Report> examine(const std::string& directory) {
  Report report;
  Log log(2, LogLevel::kError);
  TRY(ring, Ring::open());
  Workers workers(*ring, 4);
  TRY(link, KeptLink::standalone());
  DoorTrial trial(workers, directory);
  TrialFiller filler(trial);
  const DoorContext context{*ring, workers, log, filler, *link, directory};
  TaskScope scope;
  ring->post([&] { scope.spawn(try_doors(*ring, context, trial, report)); });
  ring->run();

  report.facts.push_back(mount_fact(trial, "file_backed_mounts", false,
                                    "Linux 6.12+ with CONFIG_EROFS_FS_BACKED_BY_FILE"));
  report.facts.push_back(mount_fact(trial, "directio", true, "Linux 6.15+"));
  report.facts.push_back(inode_share_fact());
  for (KernelFact& fact : fuse_facts()) report.facts.push_back(std::move(fact));
  report.facts.push_back(tp_btf_fact());
  report.facts.push_back(access_fact());
  for (KernelFact& fact : ksm_facts()) report.facts.push_back(std::move(fact));
  report.facts.push_back(cgroup_fact());
  report.facts.push_back(reflink_fact(directory));
  return report;
}

const char* word(Offered offered) {
  switch (offered) {
    case Offered::kYes:
      return "yes";
    case Offered::kNo:
      return "no";
    case Offered::kUnknown:
      return "unknown";
  }
  return "?";
}

const char* door_advice(DoorKind kind) {
  switch (kind) {
    case DoorKind::kCachefiles:
      return "Linux 5.19 - 7.1 with CONFIG_CACHEFILES_ONDEMAND and CONFIG_EROFS_FS_ONDEMAND";
    case DoorKind::kFanotify:
      return "Linux 6.14+ with CONFIG_FANOTIFY_ACCESS_PERMISSIONS and "
             "CONFIG_EROFS_FS_BACKED_BY_FILE";
    case DoorKind::kFuse:
      return "the modules fuse and erofs, and before Linux 6.12 loop";
  }
  return "";
}

std::string as_text(const Report& report, const utsname& system) {
  std::string text = std::string(system.sysname) + " " + system.release + "\n\n";
  Table doors({{"DOOR"}, {"WORKS"}, {"WHY"}, {"NEEDS"}});
  for (const DoorVerdict& door : report.doors) {
    doors.add({name_of(door.kind), door.usable ? "yes" : "no", door.reason,
               door.usable ? "" : door_advice(door.kind)});
  }
  Table facts({{"FEATURE"}, {"THERE"}, {"SEEN"}, {"TO GET IT"}});
  for (const KernelFact& fact : report.facts) {
    facts.add({fact.name, word(fact.offered), fact.detail, fact.advice});
  }
  return text + doors.to_string() + "\n" + facts.to_string();
}

json as_json(const Report& report, const utsname& system) {
  json answer = {{"kernel", system.release}, {"usable", report.usable()}};
  answer["door"] = nullptr;
  for (const DoorVerdict& door : report.doors) {
    if (door.usable && answer["door"].is_null()) answer["door"] = name_of(door.kind);
    answer["doors"].push_back({{"name", name_of(door.kind)},
                               {"works", door.usable},
                               {"reason", door.reason},
                               {"needs", door_advice(door.kind)}});
  }
  for (const KernelFact& fact : report.facts) {
    answer["features"][fact.name] = {
        {"there", word(fact.offered)}, {"seen", fact.detail}, {"to_get_it", fact.advice}};
  }
  return answer;
}

int run(int argc, char** argv) {
  CLI::App app{
      "dedup-kcheck: what this kernel offers to dedupd. Tries every door with a tiny image and "
      "every\n"
      "feature for real; changes nothing. Exit status: 0 some door works, 1 none does, 2 wrong "
      "usage."};
  std::string root = kDefaultRoot;
  bool want_json = false;
  app.add_option("--root", root, "Data root of dedupd: its file system is the one examined");
  app.add_flag("--json", want_json, "Print one JSON object");
  app.set_version_flag("--version", DEDUP_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const ScratchFolder scratch(root);
  if (::geteuid() != 0 || !scratch.valid()) {
    std::fprintf(stderr, "dedup-kcheck: %s\n",
                 ::geteuid() != 0 ? "must run as root: it mounts file systems"
                                  : ("no folder can be made below " + root).c_str());
    return kNoDoor;
  }
  const auto report = examine(scratch.path());
  if (!report.ok()) {
    std::fprintf(stderr, "dedup-kcheck: %s\n", report.error().to_string().c_str());
    return kNoDoor;
  }
  utsname system{};
  ::uname(&system);
  const std::string text =
      want_json ? as_json(*report, system).dump(2) + "\n" : as_text(*report, system);
  std::fputs(text.c_str(), stdout);
  return report->usable() ? 0 : kNoDoor;
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  return dedup::run(argc, argv);
}
