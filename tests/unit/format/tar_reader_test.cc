#include "format/tar_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "base/unique_fd.h"
#include "unit/format/libarchive_oracle.h"
#include "unit/format/tar_maker.h"
#include "unit/format/tree_maker.h"

namespace dedup {
namespace {

using test::EntryRecorder;
using test::padded;
using test::pax_record;
using test::RawHeader;
using test::RecordedEntry;
using test::TarMaker;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

struct Outcome {
  std::vector<RecordedEntry> entries;
  Result<void> result;
};

// Feeds `bytes` in pieces of `step` bytes (0: all at once, -1: random sizes), each in a buffer of
// its own, so that a read past a piece is seen by the address sanitizer.
Outcome read(std::string_view bytes, int step = 0, LayerLimits limits = {}) {
  EntryRecorder recorder;
  TarReader reader(recorder, limits);
  std::mt19937 random(42);
  while (!bytes.empty()) {
    const size_t take = step == 0  ? bytes.size()
                        : step > 0 ? static_cast<size_t>(step)
                                   : random() % 3000 + 1;
    const std::string piece(bytes.substr(0, take));
    bytes.remove_prefix(piece.size());
    if (auto fed = reader.feed(as_bytes(piece)); !fed.ok())
      return {std::move(recorder.entries), std::move(fed)};
  }
  return {std::move(recorder.entries), reader.finish()};
}

std::vector<RecordedEntry> read_ok(std::string_view bytes, int step = 0) {
  Outcome outcome = read(bytes, step);
  EXPECT_TRUE(outcome.result.ok()) << outcome.result.error().to_string();
  for (const RecordedEntry& record : outcome.entries) EXPECT_TRUE(record.ended);
  return std::move(outcome.entries);
}

Error read_error(std::string_view bytes, LayerLimits limits = {}) {
  Outcome outcome = read(bytes, 0, limits);
  EXPECT_FALSE(outcome.result.ok());
  return outcome.result.ok() ? Error{} : outcome.result.error();
}
Errc read_code(std::string_view bytes, LayerLimits limits = {}) {
  return read_error(bytes, limits).code;
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

// libarchive names an attribute twice when an archive has it as SCHILY.xattr and LIBARCHIVE.xattr.
std::map<std::string, std::string> xattr_map(const Entry& entry) {
  std::map<std::string, std::string> map;
  for (const Xattr& xattr : entry.xattrs) map[xattr.name] = xattr.value;
  return map;
}

void expect_same(const std::vector<RecordedEntry>& got, const std::vector<RecordedEntry>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const Entry& a = got[i].entry;
    const Entry& b = want[i].entry;
    SCOPED_TRACE(a.path);
    EXPECT_EQ(without_slash(a.path), without_slash(b.path));
    EXPECT_EQ(a.type, b.type);
    EXPECT_EQ(a.link_target, b.link_target);
    EXPECT_EQ(a.mode, b.mode);
    EXPECT_EQ(a.uid, b.uid);
    EXPECT_EQ(a.gid, b.gid);
    EXPECT_EQ(a.size, b.size);
    EXPECT_EQ(a.mtime_seconds, b.mtime_seconds);
    EXPECT_EQ(a.mtime_nanoseconds, b.mtime_nanoseconds);
    if (a.type == EntryType::kCharDevice || a.type == EntryType::kBlockDevice) {
      EXPECT_EQ(a.rdev_major, b.rdev_major);
      EXPECT_EQ(a.rdev_minor, b.rdev_minor);
    }
    EXPECT_EQ(xattr_map(a), xattr_map(b));
    EXPECT_TRUE(got[i].content == want[i].content);
  }
}

// Every split size gives what libarchive gives.
void expect_like_libarchive(const std::string& bytes) {
  const auto want = test::read_with_libarchive(bytes);
  for (const int step : {0, 1, 7, 512, -1}) {
    if (step == 1 && bytes.size() > (4u << 20)) continue;
    SCOPED_TRACE(step);
    expect_same(read_ok(bytes, step), want);
  }
}

std::string noise(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random() | 1);  // no zero bytes
  return text;
}

RecordedEntry record(EntryType type, std::string path, std::string link = "",
                     std::string content = "") {
  RecordedEntry out;
  out.entry.type = type;
  out.entry.path = std::move(path);
  out.entry.link_target = std::move(link);
  out.entry.mode = 0640;
  out.entry.mtime_seconds = 1'600'000'000;
  out.entry.size = content.size();
  out.content = std::move(content);
  return out;
}

std::vector<RecordedEntry> plain_entries() {
  std::vector<RecordedEntry> entries;
  entries.push_back(record(EntryType::kDirectory, "d/"));
  entries.push_back(record(EntryType::kRegular, "d/empty"));
  for (const size_t bytes : {1, 511, 512, 513, 100'000}) {
    entries.push_back(
        record(EntryType::kRegular, "d/f" + std::to_string(bytes), "", noise(bytes, 1)));
  }
  entries.push_back(record(EntryType::kHardLink, "link", "d/f1"));
  entries.push_back(record(EntryType::kSymlink, "sym", "../anything"));
  entries.push_back(record(EntryType::kFifo, "fifo"));
  entries.push_back(record(EntryType::kCharDevice, "char"));
  entries.back().entry.rdev_major = 5;
  entries.back().entry.rdev_minor = 259;
  entries.push_back(record(EntryType::kBlockDevice, "block"));
  entries.back().entry.rdev_major = 8;
  entries.push_back(record(EntryType::kRegular, std::string(120, 'p') + "/" + std::string(100, 'n'),
                           "", "prefix"));
  entries.push_back(record(EntryType::kRegular, "setuid"));
  entries.back().entry.mode = 07755;
  return entries;
}

void add_long_names(std::vector<RecordedEntry>& entries) {
  entries.push_back(record(EntryType::kRegular, std::string(255, 'a'), "", "long"));
  entries.push_back(record(EntryType::kSymlink, "long-symlink", std::string(3000, 's')));
  entries.push_back(record(EntryType::kHardLink, "long-link", std::string(255, 'a')));
  entries.push_back(record(EntryType::kRegular, "caf\xe9 \xff\xfe", "", "not UTF-8"));
}

TEST(TarReader, UstarFromLibarchive) {
  expect_like_libarchive(
      test::write_with_libarchive(plain_entries(), archive_write_set_format_ustar));
}

TEST(TarReader, GnuFromLibarchive) {
  auto entries = plain_entries();
  add_long_names(entries);
  entries.push_back(record(EntryType::kRegular, "big ids"));
  entries.back().entry.uid = (1ull << 31) + 5;
  entries.back().entry.gid = 3'000'000;
  expect_like_libarchive(test::write_with_libarchive(entries, archive_write_set_format_gnutar));
}

TEST(TarReader, PaxFromLibarchive) {
  auto entries = plain_entries();
  add_long_names(entries);
  entries.push_back(record(EntryType::kRegular, "attributes", "", "x"));
  Entry& entry = entries.back().entry;
  entry.uid = 4'000'000'000;
  entry.gid = 2'097'152;
  entry.mtime_nanoseconds = 123'456'789;
  entry.xattrs = {{"user.text", "value"}, {"security.capability", std::string("\1\0\0\2=\n", 6)}};
  expect_like_libarchive(test::write_with_libarchive(entries, archive_write_set_format_pax));
}

// --- GNU tar as the writer
// -------------------------------------------------------------------------------------------

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class GnuTar : public ::testing::TestWithParam<const char*> {
 protected:
  void sparse_file(const std::string& name, uint64_t size, std::vector<uint64_t> offsets) {
    const std::string path = tree() + "/" + name;
    const UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    for (const uint64_t offset : offsets) {
      const std::string data = noise(4096, static_cast<unsigned>(offset));
      ASSERT_EQ(::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset)), 4096);
    }
  }
  std::string tree() const { return x_dir.path() + "/tree"; }
  std::string pack(const std::string& options) {
    const std::string archive = x_dir.path() + "/a.tar";
    const std::string command =
        "cd '" + tree() + "' && tar " + options + " --sort=name -cf '" + archive + "' .";
    EXPECT_EQ(std::system(command.c_str()), 0);
    return slurp(archive);
  }
  void SetUp() override { fs::create_directory(tree()); }

 private:
  test::TempDir x_dir;
};

TEST_P(GnuTar, SparseFiles) {
  sparse_file("hole-only", 1 << 20, {});
  sparse_file("one", 1 << 20, {512 << 10});
  sparse_file("ends-with-data", 64 << 10, {0, 60 << 10});
  sparse_file("odd-size", (1 << 20) + 333, {8 << 10});
  std::vector<uint64_t> many;
  for (uint64_t i = 0; i < 300; ++i) many.push_back(i * 16384);
  sparse_file("many", 8 << 20, many);  // more ranges than header and extension blocks hold
  std::ofstream(tree() + "/" + std::string(150, 'n')) << "dense";
  const std::string bytes = pack(GetParam());
  expect_like_libarchive(bytes);
  size_t seen = 0;
  for (const RecordedEntry& got : read_ok(bytes)) {
    if (got.entry.type != EntryType::kRegular) continue;
    ++seen;
    EXPECT_TRUE(got.content == slurp(fs::path(tree()) / got.entry.path)) << got.entry.path;
  }
  EXPECT_EQ(seen, 6u);
  const auto entries = read_ok(bytes);
  const auto sparse = std::find_if(entries.begin(), entries.end(),
                                   [](const auto& e) { return e.entry.path == "./one"; });
  ASSERT_NE(sparse, entries.end());
  uint64_t delivered = 0;
  for (const ByteRange& range : sparse->delivered) delivered += range.length;
  EXPECT_EQ(delivered, 4096u) << "holes must not be delivered";
}

INSTANTIATE_TEST_SUITE_P(Dialects, GnuTar,
                         ::testing::Values("--format=gnu --sparse",
                                           "--format=posix --sparse --sparse-version=0.0",
                                           "--format=posix --sparse --sparse-version=0.1",
                                           "--format=posix --sparse --sparse-version=1.0"));

class GnuTarTree : public GnuTar {};

TEST_P(GnuTarTree, AllTypes) {
  fs::create_directories(tree() + "/d/e");
  std::ofstream(tree() + "/d/file") << noise(10'000, 3);
  fs::create_hard_link(tree() + "/d/file", tree() + "/z-link");
  fs::create_symlink("d/file", tree() + "/symlink");
  std::string options = GetParam();
  if (options == "--format=v7") return expect_like_libarchive(pack(options));
  ASSERT_EQ(::mkfifo((tree() + "/fifo").c_str(), 0600), 0);
  if (::mknod((tree() + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0) {
    std::printf("no CAP_MKNOD: devices are not covered\n");
  }
  if (options != "--format=ustar") {
    std::ofstream(tree() + "/" + std::string(200, 'l')) << "x";
    fs::create_symlink(std::string(600, 't'), tree() + "/long");
  }
  expect_like_libarchive(pack(options));
}

INSTANTIATE_TEST_SUITE_P(Dialects, GnuTarTree,
                         ::testing::Values("--format=v7", "--format=ustar", "--format=gnu",
                                           "--format=oldgnu", "--format=posix"));

class GnuTarXattrs : public GnuTar {};

TEST_P(GnuTarXattrs, Values) {
  std::ofstream(tree() + "/file") << "x";
  const std::string path = tree() + "/file";
  if (::setxattr(path.c_str(), "user.one", "1\n=", 3, 0) != 0)
    GTEST_SKIP() << "no user xattrs on this file system";
  ASSERT_EQ(::setxattr(path.c_str(), "user.empty", "", 0, 0), 0);
  const auto entries = read_ok(pack(std::string(GetParam()) + " --xattrs --xattrs-include='*'"));
  const auto& xattrs = entries.back().entry.xattrs;
  EXPECT_THAT(xattrs,
              ::testing::UnorderedElementsAre(Xattr{"user.one", "1\n="}, Xattr{"user.empty", ""}));
}

INSTANTIATE_TEST_SUITE_P(Dialects, GnuTarXattrs, ::testing::Values("--format=posix"));

// --- files of other projects
// -----------------------------------------------------------------------------------------

TEST(TarReader, Fixtures) {
  const fs::path folder = fs::path(__FILE__).parent_path() / "../../../../shared/fixtures/estargz";
  size_t seen = 0;
  for (const char* name : {"all-entry-type.tar", "all-entry-type-macos.tar", "empty.tar"}) {
    if (!fs::exists(folder / name)) continue;
    SCOPED_TRACE(name);
    ++seen;
    expect_like_libarchive(slurp(folder / name));
  }
  if (seen == 0) GTEST_SKIP() << "missing: shared/fixtures/estargz/*.tar";
}

// --- hand-made archives
// ----------------------------------------------------------------------------------------------

std::string base256(uint64_t value, size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = bytes; i-- > 0; value >>= 8) text[i] = static_cast<char>(value & 0xff);
  text[0] = static_cast<char>(text[0] | 0x80);
  return text;
}

TEST(TarReader, EndOfArchive) {
  const std::string file = TarMaker().file("a", "data").bytes();
  EXPECT_EQ(read_ok("").size(), 0u);
  EXPECT_EQ(read_ok(file).size(), 1u);                           // no mark at all
  EXPECT_EQ(read_ok(file.substr(0, 512 + 4)).size(), 1u);        // padding missing too
  EXPECT_EQ(read_ok(file + std::string(512, '\0')).size(), 1u);  // half a mark
  EXPECT_EQ(read_ok(file + std::string(1024, '\0') + "anything").size(), 1u);
  EXPECT_EQ(read_code(file + std::string(512, '\0') + file), Errc::kCorruption);
}

TEST(TarReader, Base256Numbers) {
  RawHeader header;
  header.uid = base256(0x80000001, 8);
  header.mtime = base256(1ull << 33, 12);
  header.size = base256(3, 12);
  const auto entries = read_ok(TarMaker().raw(header.block()).raw(padded("abc")).bytes());
  EXPECT_EQ(entries[0].entry.uid, 0x80000001u);
  EXPECT_EQ(entries[0].entry.mtime_seconds, int64_t{1} << 33);
  EXPECT_EQ(entries[0].content, "abc");

  header.mtime = std::string(12, '\xff');  // -1: before 1970 becomes 0, as containerd does
  EXPECT_EQ(
      read_ok(TarMaker().raw(header.block()).raw(padded("abc")).bytes())[0].entry.mtime_seconds, 0);
}

TEST(TarReader, BadNumbers) {
  const auto code = [](auto change) {
    RawHeader header;
    change(header);
    return read_code(TarMaker().raw(header.block()).bytes());
  };
  EXPECT_EQ(code([](RawHeader& h) { h.size = std::string(12, '\xff'); }), Errc::kCorruption);  // -1
  EXPECT_EQ(code([](RawHeader& h) { h.size = "\x80" + std::string(11, '\xff'); }),
            Errc::kCorruption);
  EXPECT_EQ(code([](RawHeader& h) { h.size = base256(1ull << 63, 12); }), Errc::kCorruption);
  EXPECT_EQ(code([](RawHeader& h) { h.size = base256((1ull << 63) - 1, 12); }), Errc::kNoSpace);
  EXPECT_EQ(code([](RawHeader& h) { h.size = "12x"; }), Errc::kCorruption);
  EXPECT_EQ(code([](RawHeader& h) { h.size = "-1"; }), Errc::kCorruption);
  EXPECT_EQ(code([](RawHeader& h) { h.size = "1 2"; }), Errc::kCorruption);
  EXPECT_EQ(code([](RawHeader& h) { h.uid = "9"; }), Errc::kCorruption);
  EXPECT_EQ(code([](RawHeader& h) { h.uid = std::string(8, '\xff'); }), Errc::kCorruption);
  EXPECT_EQ(code([](RawHeader& h) { h.mode = "rw-r--r-"; }), Errc::kCorruption);
  EXPECT_EQ(code([](RawHeader& h) { h.checksum_error = 1; }), Errc::kCorruption);
}

TEST(TarReader, ErrorNamesPlaceAndEntry) {
  const std::string bytes =
      TarMaker().file("a", "x").pax(pax_record("size", "bad")).file("b\n", "x").bytes();
  EXPECT_THAT(read_error(bytes).context, HasSubstr("at byte 1536"));
  const std::string truncated =
      TarMaker().file("some/name", std::string(100, 'x')).bytes().substr(0, 550);
  EXPECT_THAT(read_error(truncated).context, HasSubstr("'some/name'"));
}

TEST(TarReader, UnknownTypes) {
  EXPECT_EQ(read_code(TarMaker().add({.type = 'Z'}).end().bytes()), Errc::kInvalid);
  EXPECT_EQ(read_code(TarMaker().add({.type = 'D'}, "Yx").end().bytes()), Errc::kInvalid);
  EXPECT_EQ(
      read_ok(TarMaker().add({.name = "label", .type = 'V'}).file("a", "x").end().bytes()).size(),
      1u);
}

TEST(TarReader, SizeOfTypesWithoutDataIsIgnored) {
  RawHeader link{.name = "b", .type = '1', .link = "a"};
  link.sized(100'000);
  RawHeader old{.name = "old/", .type = '\0', .magic = ""};
  old.sized(5);
  const auto entries = read_ok(
      TarMaker().file("a", "x").raw(link.block()).raw(old.block()).file("c", "y").end().bytes());
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[1].entry.type, EntryType::kHardLink);
  EXPECT_EQ(entries[1].entry.size, 0u);
  EXPECT_EQ(entries[2].entry.type, EntryType::kDirectory);
  EXPECT_EQ(entries[3].content, "y");
}

TEST(TarReader, GoBefore18PutAPrefixIntoGnuHeaders) {
  RawHeader header{.name = "name"};
  header.magic = std::string("ustar  \0", 8);
  header.prefix = "some/long/prefix";
  EXPECT_EQ(read_ok(TarMaker().add(header).bytes())[0].entry.path, "some/long/prefix/name");
  header.prefix = "00000000017 00000000017";  // times, as GNU tar writes them
  EXPECT_EQ(read_ok(TarMaker().add(header).bytes())[0].entry.path, "name");
}

TEST(TarReader, PaxOverridesAndGnuNamesOverridePax) {
  const std::string records = pax_record("path", "from pax") + pax_record("uid", "4294967294") +
                              pax_record("mtime", "1.5") + pax_record("size", "3") +
                              pax_record("SCHILY.xattr.user.a", "1") +
                              pax_record("SCHILY.xattr.user.e", "") +
                              pax_record("SCHILY.devminor", "77") + pax_record("comment", "x");
  auto entries = read_ok(
      TarMaker().pax(records).raw(RawHeader().block()).raw(padded("abc")).file("next", "").bytes());
  const Entry& entry = entries[0].entry;
  EXPECT_EQ(entry.path, "from pax");
  EXPECT_EQ(entry.uid, 4294967294u);
  EXPECT_EQ(entry.mtime_seconds, 1);
  EXPECT_EQ(entry.mtime_nanoseconds, 500'000'000u);
  EXPECT_EQ(entry.rdev_minor, 77u);
  EXPECT_EQ(entries[0].content, "abc");
  EXPECT_EQ(entry.xattrs, (std::vector<Xattr>{{"user.a", "1"}, {"user.e", ""}}));
  EXPECT_EQ(entries[1].entry.path, "next");
  EXPECT_EQ(entries[1].entry.uid, 0u);

  entries = read_ok(TarMaker()
                        .add({.name = "L", .type = 'L'}, std::string("gnu name\0", 9))
                        .pax(pax_record("path", "from pax"))
                        .file("header", "")
                        .bytes());
  EXPECT_EQ(entries[0].entry.path, "gnu name");
}

TEST(TarReader, PaxEmptyValueLeavesTheHeaderAlone) {
  const std::string records = pax_record("path", "first") + pax_record("path", "") +
                              pax_record("uid", "") + pax_record("mtime", "");
  const auto entries = read_ok(TarMaker().pax(records).file("header", "").bytes());
  EXPECT_EQ(entries[0].entry.path, "header");
}

TEST(TarReader, PaxTimes) {
  const auto mtime = [](const char* text) {
    const Entry entry =
        read_ok(TarMaker().pax(pax_record("mtime", text)).file("f", "").bytes())[0].entry;
    return std::pair(entry.mtime_seconds, entry.mtime_nanoseconds);
  };
  EXPECT_EQ(mtime("1700000000.000000001"), std::pair(int64_t{1700000000}, 1u));
  EXPECT_EQ(mtime("5.1234567899"), std::pair(int64_t{5}, 123456789u));
  EXPECT_EQ(mtime("5."), std::pair(int64_t{5}, 0u));
  EXPECT_EQ(mtime("-0.5"), std::pair(int64_t{0}, 0u));
  EXPECT_EQ(mtime("9223372036"), std::pair(int64_t{9223372036}, 0u));
  EXPECT_EQ(mtime("9223372037"), std::pair(int64_t{0}, 0u));
  for (const char* bad : {"x", ".5", "1.x", "--1", "1e5", "99999999999999999999"}) {
    EXPECT_EQ(read_code(TarMaker().pax(pax_record("mtime", bad)).file("f", "").bytes()),
              Errc::kCorruption)
        << bad;
  }
}

TEST(TarReader, GlobalHeadersAreCheckedAndIgnored) {
  const auto entries = read_ok(
      TarMaker().pax(pax_record("path", "global"), 'g').file("a", "").file("b", "").bytes());
  EXPECT_EQ(entries[0].entry.path, "a");
  EXPECT_EQ(entries[1].entry.path, "b");
  EXPECT_EQ(read_code(TarMaker().pax("5 x=\n9999 y=\n", 'g').file("a", "").bytes()),
            Errc::kCorruption);
}

TEST(TarReader, PaxLies) {
  for (const std::string& records :
       {std::string("x"), std::string("6 path"), std::string("0 a=b\n"), std::string("3 =\n"),
        std::string("-6 a=b\n"), std::string("7 a=b\n"), std::string("5 a=b\n"),
        std::string("99999999999999999999 a=b\n"), std::string("18446744073709551615 a=b\n"),
        std::string("6 a=b\n6 a=bx"), std::string("5 ab\n"), std::string("5 =b\n"),
        std::string("8 a\0b=c\n", 8), pax_record("path", std::string("a\0b", 3)),
        pax_record("size", "-1"), pax_record("size", "0x10"), pax_record("uid", "1.5"),
        pax_record("size", "9223372036854775808")}) {
    EXPECT_EQ(read_code(TarMaker().pax(records).file("a", "").bytes()), Errc::kCorruption)
        << records;
  }
}

TEST(TarReader, MetadataLimits) {
  RawHeader huge{.name = "pax", .type = 'x'};
  EXPECT_EQ(read_code(TarMaker().raw(huge.sized((1 << 20) + 1).block()).bytes()), Errc::kInvalid);
  huge.type = 'g';
  EXPECT_EQ(read_code(TarMaker().raw(huge.block()).bytes()), Errc::kInvalid);
  RawHeader name{.name = "L", .type = 'L'};
  EXPECT_EQ(read_code(TarMaker().raw(name.sized(4097).block()).bytes()), Errc::kInvalid);
  LayerLimits limits;
  limits.max_uncompressed_bytes = 1024;
  EXPECT_EQ(read_code(TarMaker().file("a", std::string(513, 'x')).bytes(), limits), Errc::kNoSpace);
}

std::string sparse_pax(const std::string& records, std::string_view stored) {
  return TarMaker().pax(records).file("GNUSparseFile.0/f", stored).end().bytes();
}

TEST(TarReader, SparseMapLies) {
  const auto map01 = [](const char* map, const char* count, const char* size) {
    return pax_record("GNU.sparse.major", "0") + pax_record("GNU.sparse.minor", "1") +
           pax_record("GNU.sparse.map", map) + pax_record("GNU.sparse.numblocks", count) +
           pax_record("GNU.sparse.size", size);
  };
  EXPECT_EQ(read_ok(sparse_pax(map01("0,2,10,2", "2", "20"), "abcd"))[0].content,
            std::string("ab\0\0\0\0\0\0\0\0cd\0\0\0\0\0\0\0\0", 20));
  for (const std::string& records :
       {map01("0,2,10,2", "3", "20"), map01("0,2,10", "2", "20"), map01("10,2,0,2", "2", "20"),
        map01("0,3,2,1", "2", "20"), map01("0,2,19,2", "2", "20"), map01("0,2,10,1", "2", "20"),
        map01("0,2,10,9223372036854775807", "2", "20"), map01("0,2,-1,2", "2", "20"),
        map01("0,4", "1", "2"), pax_record("GNU.sparse.map", "0,4"),
        pax_record("GNU.sparse.size", "9") + pax_record("GNU.sparse.offset", "0"),
        pax_record("GNU.sparse.offset", "0") + pax_record("GNU.sparse.offset", "0"),
        pax_record("GNU.sparse.numbytes", "4")}) {
    // An offset alone is no map: the file is taken as it is, all others are refused.
    const Outcome outcome = read(sparse_pax(records, "abcd"));
    if (outcome.result.ok()) {
      EXPECT_EQ(outcome.entries[0].content, "abcd") << records;
      EXPECT_THAT(records, HasSubstr("GNU.sparse.size=9"));
    } else {
      EXPECT_EQ(outcome.result.error().code, Errc::kCorruption) << records;
    }
  }
  const auto version = [](const char* major, const char* minor) {
    return pax_record("GNU.sparse.major", major) + pax_record("GNU.sparse.minor", minor) +
           pax_record("GNU.sparse.realsize", "20");
  };
  EXPECT_EQ(read_code(sparse_pax(version("2", "0"), "")), Errc::kUnsupported);
  EXPECT_EQ(read_code(sparse_pax(version("1", "1"), "")), Errc::kUnsupported);
  for (const char* map : {"x\n", "\n", "1\n0\n", "1\n0\n99\n", "1\n19\n2\n", "2\n5\n1\n0\n1\n",
                          "-1\n", "1\n0\n3\n", "99999999999999999999999\n", "1"}) {
    EXPECT_EQ(read_code(sparse_pax(version("1", "0"), padded(map) + "ab")), Errc::kCorruption)
        << map;
  }
  EXPECT_EQ(read_code(sparse_pax(version("1", "0"), padded("99999999\n") + "ab")), Errc::kInvalid);
  EXPECT_EQ(read_code(sparse_pax(version("1", "0"), "1\n0\n0\n")), Errc::kCorruption)
      << "map is not a whole block";
  EXPECT_EQ(read_ok(sparse_pax(version("1", "0"), padded("1\n4\n2\n") + "ab"))[0].content,
            std::string("\0\0\0\0ab", 6) + std::string(14, '\0'));
  EXPECT_EQ(
      read_code(TarMaker().pax(version("1", "0")).add({.name = "d", .type = '5'}).end().bytes()),
      Errc::kCorruption);
}

TEST(TarReader, SparseNameReplacesTheMadeUpOne) {
  const std::string records =
      pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
      pax_record("GNU.sparse.name", "real/name") + pax_record("GNU.sparse.realsize", "2");
  EXPECT_EQ(read_ok(sparse_pax(records, padded("1\n0\n2\n") + "ab"))[0].entry.path, "real/name");
}

std::string old_sparse_header(const std::vector<ByteRange>& ranges, uint64_t real_size,
                              uint64_t stored, bool more) {
  RawHeader header{.name = "s", .type = 'S'};
  header.magic = std::string("ustar  \0", 8);
  std::string block = header.sized(stored).block();
  char text[13];
  const auto octal = [&text](uint64_t value) {
    std::snprintf(text, sizeof(text), "%011llo", static_cast<unsigned long long>(value));
    return std::string(text, 12);
  };
  size_t at = 386;
  for (const ByteRange& range : ranges) {
    block.replace(at, 24, octal(range.offset) + octal(range.length));
    at += 24;
  }
  block[482] = more ? '\1' : '\0';
  block.replace(483, 12, octal(real_size));
  RawHeader::seal(block);
  return block;
}

TEST(TarReader, OldGnuSparse) {
  EXPECT_EQ(read_ok(old_sparse_header({{1, 2}, {6, 0}}, 6, 2, false) + padded("ab"))[0].content,
            std::string("\0ab\0\0\0", 6));
  EXPECT_EQ(read_code(old_sparse_header({{4, 2}, {0, 2}}, 9, 4, false) + padded("abcd")),
            Errc::kCorruption);
  EXPECT_EQ(read_code(old_sparse_header({{0, 2}}, 1, 2, false) + padded("ab")), Errc::kCorruption);
  EXPECT_EQ(read_code(old_sparse_header({{0, 3}}, 9, 2, false) + padded("ab")), Errc::kCorruption);
  EXPECT_EQ(read_code(old_sparse_header({{0, 2}}, 9, 2, true)), Errc::kCorruption)
      << "extension missing";
  EXPECT_EQ(read_code(old_sparse_header({{0, 2}}, 9, 2, true) + std::string(512, 'x')),
            Errc::kCorruption);
  EXPECT_EQ(
      read_ok(old_sparse_header({{0, 2}}, 9, 2, true) + std::string(512, '\0') + padded("ab"))[0]
          .entry.size,
      9u);
}

// Cut anywhere: never a crash, and never taken as complete unless the cut lies between entries or
// in the padding.
TEST(TarReader, TruncationAtEveryByte) {
  const std::string sparse = pax_record("GNU.sparse.major", "1") +
                             pax_record("GNU.sparse.minor", "0") +
                             pax_record("GNU.sparse.realsize", "4");
  struct Part {
    std::string bytes;
    size_t needed;  // bytes of it that must be there
  };
  const std::vector<Part> parts = {
      {TarMaker().file("a", "data").bytes(), 516},
      {TarMaker().pax(pax_record("path", "b")).file("x", "").bytes(), 1536},
      {TarMaker().add({.name = "L", .type = 'L'}, "c").file("x", "y").bytes(), 1537},
      {old_sparse_header({{0, 2}}, 9, 2, true) + std::string(512, '\0') + padded("ab"), 1026},
      {TarMaker().pax(sparse).file("s", padded("1\n0\n2\n") + "ab").bytes(), 2050},
      {std::string(1024, '\0'), 0},
  };
  std::string bytes;
  std::vector<bool> complete;  // whether the first i bytes are an archive
  for (const Part& part : parts) {
    complete.resize(bytes.size() + 1, true);
    for (size_t i = 1; i < part.bytes.size(); ++i) {
      const bool zero_block = part.needed == 0 && i % 512 == 0;
      complete.push_back(zero_block || (part.needed != 0 && i >= part.needed));
    }
    bytes += part.bytes;
  }
  complete.push_back(true);
  ASSERT_EQ(complete.size(), bytes.size() + 1);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const Outcome outcome = read(std::string_view(bytes).substr(0, cut), 301);
    EXPECT_EQ(outcome.result.ok(), complete[cut]) << "cut after byte " << cut;
    if (outcome.result.ok()) continue;
    EXPECT_EQ(outcome.result.error().code, Errc::kCorruption);
  }
}

// Every byte damaged in turn: no crash, and a damaged header never passes.
TEST(TarReader, EveryByteDamaged) {
  std::string bytes = TarMaker().pax(pax_record("path", "name")).file("x", "data").end().bytes();
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {1, 0x80}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const Outcome outcome = read(damaged);
      const bool in_header = at < 512 || (at >= 1024 && at < 1536);
      const bool in_checksum =
          at % 512 >= 148 && at % 512 < 156;  // spaces and zero bytes there mean the same
      EXPECT_FALSE(outcome.result.ok() && in_header && !in_checksum) << at;
    }
  }
}

class FailingSink final : public TarSink {
 public:
  explicit FailingSink(int fail_at) : x_left(fail_at) {}
  Result<void> on_entry(const Entry&) override { return step(); }
  Result<void> on_data(uint64_t, std::span<const std::byte>) override { return step(); }
  Result<void> on_entry_end() override { return step(); }

 private:
  Result<void> step() {
    if (x_left-- > 0) return {};
    return make_error(Errc::kCancelled, "stop");
  }
  int x_left;
};

TEST(TarReader, SinkErrorsComeBackUnchanged) {
  const std::string bytes = TarMaker().file("a", "data").end().bytes();
  for (int fail_at = 0; fail_at < 3; ++fail_at) {
    FailingSink sink(fail_at);
    TarReader reader(sink);
    auto fed = reader.feed(as_bytes(bytes));
    ASSERT_FALSE(fed.ok());
    EXPECT_EQ(fed.error().code, Errc::kCancelled);
    EXPECT_EQ(fed.error().context, "stop");
  }
}

}  // namespace
}  // namespace dedup
