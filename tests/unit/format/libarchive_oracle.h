// The second opinion on tar: libarchive as reader and writer of whole archives in memory.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "format/entry.h"
#include "unit/format/tar_maker.h"

namespace dedup::test {

inline mode_t mode_type(EntryType type) {
  switch (type) {
    case EntryType::kRegular:
      return AE_IFREG;
    case EntryType::kHardLink:
      return 0;
    case EntryType::kSymlink:
      return AE_IFLNK;
    case EntryType::kCharDevice:
      return AE_IFCHR;
    case EntryType::kBlockDevice:
      return AE_IFBLK;
    case EntryType::kDirectory:
      return AE_IFDIR;
    case EntryType::kFifo:
      return AE_IFIFO;
  }
  return 0;
}

inline EntryType entry_type(struct archive_entry* from) {
  if (archive_entry_hardlink(from) != nullptr) return EntryType::kHardLink;
  switch (archive_entry_filetype(from)) {
    case AE_IFLNK:
      return EntryType::kSymlink;
    case AE_IFCHR:
      return EntryType::kCharDevice;
    case AE_IFBLK:
      return EntryType::kBlockDevice;
    case AE_IFDIR:
      return EntryType::kDirectory;
    case AE_IFIFO:
      return EntryType::kFifo;
    default:
      return EntryType::kRegular;
  }
}

inline Entry to_entry(struct archive_entry* from) {
  Entry entry;
  entry.type = entry_type(from);
  entry.path = archive_entry_pathname(from);
  if (entry.type == EntryType::kHardLink) entry.link_target = archive_entry_hardlink(from);
  if (entry.type == EntryType::kSymlink) entry.link_target = archive_entry_symlink(from);
  entry.mode = archive_entry_mode(from) & 07777;
  entry.uid = static_cast<uint64_t>(archive_entry_uid(from));
  entry.gid = static_cast<uint64_t>(archive_entry_gid(from));
  if (entry.type == EntryType::kRegular)
    entry.size = static_cast<uint64_t>(archive_entry_size(from));
  entry.mtime_seconds = archive_entry_mtime(from);
  entry.mtime_nanoseconds = static_cast<uint32_t>(archive_entry_mtime_nsec(from));
  entry.rdev_major = archive_entry_rdevmajor(from);
  entry.rdev_minor = archive_entry_rdevminor(from);
  const char* name = nullptr;
  const void* value = nullptr;
  size_t bytes = 0;
  archive_entry_xattr_reset(from);
  while (archive_entry_xattr_next(from, &name, &value, &bytes) == ARCHIVE_OK) {
    entry.xattrs.push_back({name, std::string(static_cast<const char*>(value), bytes)});
  }
  return entry;
}

inline std::vector<RecordedEntry> read_with_libarchive(const std::string& bytes) {
  std::vector<RecordedEntry> entries;
  std::unique_ptr<struct archive, decltype(&archive_read_free)> in(archive_read_new(),
                                                                   &archive_read_free);
  archive_read_support_format_tar(in.get());
  archive_read_support_format_empty(in.get());
  if (archive_read_open_memory(in.get(), bytes.data(), bytes.size()) != ARCHIVE_OK) {
    ADD_FAILURE() << archive_error_string(in.get());
    return entries;
  }
  struct archive_entry* header = nullptr;
  int status = 0;
  while ((status = archive_read_next_header(in.get(), &header)) == ARCHIVE_OK ||
         status == ARCHIVE_WARN) {
    RecordedEntry& last = entries.emplace_back();
    last.entry = to_entry(header);
    last.content.resize(last.entry.size);
    const void* data = nullptr;
    size_t length = 0;
    la_int64_t offset = 0;
    while (archive_read_data_block(in.get(), &data, &length, &offset) == ARCHIVE_OK) {
      last.content.replace(static_cast<size_t>(offset), length, static_cast<const char*>(data),
                           length);
    }
  }
  EXPECT_EQ(status, ARCHIVE_EOF) << archive_error_string(in.get());
  return entries;
}

// set_format: archive_write_set_format_ustar and the like.
inline std::string write_with_libarchive(const std::vector<RecordedEntry>& entries,
                                         int (*set_format)(struct archive*)) {
  std::string bytes(64u << 20, '\0');
  size_t used = 0;
  std::unique_ptr<struct archive, decltype(&archive_write_free)> out(archive_write_new(),
                                                                     &archive_write_free);
  set_format(out.get());
  archive_write_set_bytes_per_block(out.get(), 512);
  EXPECT_EQ(archive_write_open_memory(out.get(), bytes.data(), bytes.size(), &used), ARCHIVE_OK);
  for (const RecordedEntry& record : entries) {
    const Entry& entry = record.entry;
    std::unique_ptr<struct archive_entry, decltype(&archive_entry_free)> to(archive_entry_new(),
                                                                            &archive_entry_free);
    archive_entry_set_pathname(to.get(), entry.path.c_str());
    archive_entry_set_mode(
        to.get(), (mode_type(entry.type) != 0 ? mode_type(entry.type) : AE_IFREG) | entry.mode);
    if (entry.type == EntryType::kHardLink)
      archive_entry_set_hardlink(to.get(), entry.link_target.c_str());
    if (entry.type == EntryType::kSymlink)
      archive_entry_set_symlink(to.get(), entry.link_target.c_str());
    archive_entry_set_uid(to.get(), static_cast<la_int64_t>(entry.uid));
    archive_entry_set_gid(to.get(), static_cast<la_int64_t>(entry.gid));
    archive_entry_set_size(to.get(), static_cast<la_int64_t>(record.content.size()));
    archive_entry_set_mtime(to.get(), entry.mtime_seconds,
                            static_cast<long>(entry.mtime_nanoseconds));
    archive_entry_set_rdevmajor(to.get(), static_cast<dev_t>(entry.rdev_major));
    archive_entry_set_rdevminor(to.get(), static_cast<dev_t>(entry.rdev_minor));
    for (const Xattr& xattr : entry.xattrs) {
      archive_entry_xattr_add_entry(to.get(), xattr.name.c_str(), xattr.value.data(),
                                    xattr.value.size());
    }
    EXPECT_GE(archive_write_header(out.get(), to.get()), ARCHIVE_WARN)
        << archive_error_string(out.get());
    if (!record.content.empty()) {
      EXPECT_EQ(archive_write_data(out.get(), record.content.data(), record.content.size()),
                static_cast<la_ssize_t>(record.content.size()));
    }
  }
  EXPECT_EQ(archive_write_close(out.get()), ARCHIVE_OK);
  bytes.resize(used);
  return bytes;
}

}  // namespace dedup::test
