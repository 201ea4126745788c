// Names on the command line, made independent of the folder dedupctl runs in. Any thread.
#pragma once

#include <string>

namespace dedup {

// "oci:DIR[:TAG]" with DIR absolute and without "." and ".."; other references as they are.
std::string absolute_reference(const std::string& reference, const std::string& working_directory);

// A mount point as the kernel names it: absolute, symbolic links resolved as far as they exist.
std::string absolute_path(const std::string& path);

}  // namespace dedup
