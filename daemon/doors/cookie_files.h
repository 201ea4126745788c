// CookieFiles: files of ours under the names where cachefiles looks for its cookies: the pool's
// segment IS the kernel's cache file, a hard link of it. One domain, and so one volume, for as long
// as a keeper lives: a mount that outlived an earlier keeper holds on to dead cookies of its
// domain, which a new one must not share. Owned by the door; after open any thread may use it.
//
//   DIRECTORY/domain       text, the domain's name; made by the first worker
//   DIRECTORY/cache/...    see cachefiles_names.h; nothing in it is ours alone
#pragma once

#include <set>
#include <string>

#include "base/result.h"

namespace dedup {

class CookieFiles {
 public:
  // A new domain; removes the cache of earlier ones. Before the directory is bound.
  static Result<CookieFiles> create(std::string directory);
  // The domain a worker of the same keeper made.
  static Result<CookieFiles> open(std::string directory);

  const std::string& directory() const { return x_directory; }
  const std::string& domain() const { return x_domain; }

  // Puts `file` in the place of `cookie`; it is on the same file system and its size, a multiple of
  // 4096, does not change as long as the kernel uses it. Idempotent; writes nothing then. Blocking.
  Result<void> add(const std::string& cookie, const std::string& file) const;
  // The name is needed only until the kernel has opened it.
  void remove(const std::string& cookie) const;
  // Removes the names of all others: those a dead worker left.
  void remove_all_but(const std::set<std::string>& cookies) const;

  // Where the kernel looks for it; kInvalid when it would encode the key.
  Result<std::string> path_of(const std::string& volume_key, const std::string& cookie) const;

 private:
  CookieFiles(std::string directory, std::string domain);
  Result<void> make_volume() const;

  std::string x_directory;
  std::string x_domain;
  std::string x_volume_key;
};

}  // namespace dedup
