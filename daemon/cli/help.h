// The texts of dedupctl --help. Data only.
#pragma once

namespace dedup {

struct CommandHelp {
  const char* name;
  const char* summary;      // in the list of commands
  const char* description;  // lines of at most 98 characters
  const char* footer;       // further sections
};

inline constexpr const char* kProgramSummary =
    "look after dedupd, the lazy container image engine of this node";

inline constexpr const char* kProgramDescription =
    "Pulls, mounts and removes images, shows what the daemon and its pool hold, and re-verifies "
    "every\n"
    "byte on disk. Works on a running dedupd. Containers need none of this: their images come "
    "through\n"
    "containerd.\n"
    "\n"
    "With --json every command prints exactly one JSON object on standard output, also when it "
    "fails:\n"
    "{\"error\": {\"code\": CODE, \"message\": SENTENCE}}.";

inline constexpr const char* kProgramFooter =
    R"(EXAMPLES
  dedupctl mount registry.example/app:1.2 /mnt    run from an image that is not downloaded yet
  dedupctl mount oci:./layout:latest /mnt         the same from an OCI image layout directory
  dedupctl images --json | jq '.images[].ref'
  dedupctl status                                 the first thing to look at when reads are slow
  dedupctl check --repair                         after a disk error

EXIT STATUS
  0  done
  1  the operation failed; one sentence on standard error says why
  2  wrong usage
  3  no dedupd answers on the socket
  4  check found bad chunks

ENVIRONMENT
  DEDUP_SOCKET  socket of dedupd, when --socket is not given
  TERM          "dumb" turns progress bars off; they only ever go to a terminal on standard error
  NO_COLOR      respected: no command uses colour

FILES
  /run/dedup-snapshotter/dedupd.sock    socket of dedupd
  /etc/dedup-snapshotter/config.json    configuration of dedupd; dedupctl does not read it
  /var/lib/dedup-snapshotter            pool, metadata images and mounts)";

inline constexpr CommandHelp kPullHelp{
    "pull", "make an image ready to mount",
    "Makes every layer of REF ready to mount. Of layers that can load lazily only the index is\n"
    "fetched; other layers are downloaded whole. Bytes the pool has already are not fetched "
    "again.\n"
    "A pull that fails can be repeated; what it fetched stays. Interrupting dedupctl does not stop "
    "it.",
    R"(EXAMPLES
  dedupctl pull registry.example/app:1.2
  dedupctl pull oci:/srv/images/app:1.2)"};

inline constexpr CommandHelp kMountHelp{
    "mount", "mount an image read-only, pulling it if needed",
    "Mounts the merged file system of REF read-only on MNT, an existing directory. File contents\n"
    "are fetched and verified when they are first read. The mount outlives dedupctl and restarts "
    "of\n"
    "dedupd; \"dedupctl umount MNT\" ends it.",
    R"(EXAMPLES
  dedupctl mount registry.example/app:1.2 /mnt)"};

inline constexpr CommandHelp kUmountHelp{"umount", "end a mount made by dedupctl mount",
                                         "Unmounts MNT. The image stays in the pool.",
                                         "EXAMPLES\n  dedupctl umount /mnt"};

inline constexpr CommandHelp kImagesHelp{
    "images", "list the images in the pool",
    "Lists the images that were pulled by name. PRESENT is the share of file data that is on disk.",
    "EXAMPLES\n  dedupctl images\n  dedupctl images --json"};

inline constexpr CommandHelp kRmHelp{
    "rm", "remove an image",
    "Removes REF and every chunk that nothing else uses. Refused while the image is mounted.",
    "EXAMPLES\n  dedupctl rm registry.example/app:1.2"};

inline constexpr CommandHelp kStatusHelp{
    "status", "show the daemon, its door, mounts and traffic",
    "Shows version and process ids, the door (how the kernel asks for missing bytes) and why it "
    "was\n"
    "chosen, what is mounted, and counters since the start of the daemon.",
    R"(WHAT TO LOOK AT
  events denied, fetch errors      reads failed: look at the log of dedupd and the registry
  worker restarts                  the worker died and came back; readers waited, none failed
  fetched with wrong digest        a registry or proxy sends other bytes than it should)"};

inline constexpr CommandHelp kPoolHelp{"pool", "look into the pool", "Commands about the pool.",
                                       ""};

inline constexpr CommandHelp kPoolStatHelp{
    "stat", "show sizes and what sharing saves",
    "Shows how much the pool holds, how much of it is present, what images share and what that\n"
    "saves.",
    "EXAMPLES\n  dedupctl pool stat\n  dedupctl pool stat --json"};

inline constexpr CommandHelp kCheckHelp{
    "check", "verify every chunk on disk",
    "Reads every present chunk and compares it with its digest. Images stay usable meanwhile.",
    R"(EXIT STATUS
  0  every chunk is right
  4  bad chunks were found; with --repair they are removed and fetched again on their next read
  1, 2, 3  as for every command, see dedupctl --help

EXAMPLES
  dedupctl check
  dedupctl check --repair --json)"};

inline constexpr CommandHelp kProfileHelp{
    "profile", "work on files that hold access profiles",
    "An access profile says what a container of an image touches when it starts, in order; dedupd\n"
    "fetches it in that order, ahead of the container. show, build and import without\n"
    "--image work on files and need no dedupd. daemon/trace/profile.md of the sources describes\n"
    "the format.",
    ""};

inline constexpr CommandHelp kProfileShowHelp{
    "show", "print a profile, or draw it on a page",
    "Prints what is in FILE, first touch first: milliseconds since the container started, the\n"
    "range of the file, how many of the recorded starts touched it, the layer and the path.\n"
    "\n"
    "Of a trace, the recording of one start, also when each range was fetched, by whom, how long\n"
    "a reader waited for it, and what was prefetched in vain. Its times count from when the image\n"
    "was prepared. HOW is one of\n"
    "  ahead    fetched before it was touched\n"
    "  late     on its way when it was touched: a reader waited for the rest\n"
    "  miss     fetched because a reader needed it\n"
    "  along    came with what a reader had fetched nearby\n"
    "  present  on the node before\n"
    "  in vain  prefetched, not touched\n"
    "\n"
    "With --html writes PAGE instead: one file with a picture and the numbers beside it, which\n"
    "loads nothing and needs no script.",
    R"(EXAMPLES
  dedupctl profile show app.profile
  dedupctl profile show app.profile --json | jq -r '.entries[].path'
  dedupctl profile show start.trace --html page.html)"};

inline constexpr CommandHelp kProfileImportHelp{
    "import", "make a profile of a list of files",
    "Writes a profile that wants the files of LIST whole, first come first. LIST may be\n"
    "  paths   a path per line; lines that begin with # are skipped\n"
    "  stargz  what ctr-remote optimize --record-out writes\n"
    "  soci    the array given to soci create --prefetch-files-json",
    R"(EXAMPLES
  dedupctl profile import files.txt --output app.profile
  dedupctl profile import record.json --layer sha256:... --layer sha256:... --output app.profile)"};

inline constexpr CommandHelp kProfileBuildHelp{
    "build", "merge several recorded starts into one profile",
    "Merges profiles of one image and command. 64 KiB blocks come in the order of their median\n"
    "first touch; blocks that few starts touched are dropped. Profiles that were merged\n"
    "themselves count as often as they have runs.",
    R"(EXAMPLES
  dedupctl profile build run1.profile run2.profile run3.profile --output app.profile)"};

inline constexpr CommandHelp kProfileExportHelp{
    "export", "write an image's profile to a file",
    "Writes by what REF is prefetched on this node: recorded starts merged, what was pulled, or "
    "an\n"
    "imported list.",
    "EXAMPLES\n  dedupctl profile export registry.example/app:1.2 --output app.profile"};

inline constexpr CommandHelp kProfilePushHelp{
    "push", "give an image's profile to its registry",
    "Pushes FILE, or the starts this node has recorded, merged, as an artifact that refers to the\n"
    "image (OCI referrers; in registries without them the tag sha256-DIGEST, where it replaces an\n"
    "earlier profile of the same command). Nodes that have recorded no start of the image use it;\n"
    "those that found none ask again after ten minutes. It names layers, paths and the command\n"
    "line of the container. Needs the right to push.",
    "EXAMPLES\n  dedupctl profile push registry.example/app:1.2"};

inline constexpr CommandHelp kProfilePullHelp{
    "pull", "fetch an image's profile from its registry",
    "dedupd does so by itself when an image without a profile is pulled; this fetches the newest.",
    "EXAMPLES\n  dedupctl profile pull registry.example/app:1.2"};

inline constexpr CommandHelp kProfileRmHelp{
    "rm", "forget what was recorded of an image",
    "Removes traces and profiles of REF from this node, also of images that had that name before.\n"
    "Its next starts are recorded anew.",
    "EXAMPLES\n  dedupctl profile rm registry.example/app:1.2"};

inline constexpr CommandHelp kTraceHelp{
    "trace", "record what containers read",
    "The first starts of every image are recorded by themselves (trace.auto_starts in the\n"
    "configuration). These commands record more, and show what there is.",
    ""};

inline constexpr CommandHelp kTraceStartHelp{
    "start", "record a container, or every start of an image",
    "Of a container: what it touches from now on. Of an image: every container of it that starts\n"
    "until \"trace stop\".",
    R"(EXAMPLES
  dedupctl trace start 4f1b6d                        a running container
  dedupctl trace start registry.example/app:1.2)"};

inline constexpr CommandHelp kTraceStopHelp{
    "stop", "end a recording and write it",
    "Prints the files that were written; of an image also those of starts that were being\n"
    "recorded by themselves.",
    "EXAMPLES\n  dedupctl trace stop registry.example/app:1.2"};

inline constexpr CommandHelp kTraceListHelp{"list", "list what is being and what was recorded",
                                            "Says also when nothing can be recorded, and why.",
                                            "EXAMPLES\n  dedupctl trace list"};

inline constexpr CommandHelp kTraceShowHelp{
    "show", "print the newest recorded start",
    "Prints when each range of a file was first touched, when and why it was fetched, how long\n"
    "that held the container up, and what was fetched in vain.",
    "EXAMPLES\n  dedupctl trace show registry.example/app:1.2"};

}  // namespace dedup
