//! Where regions are.
//!
//! `cloud-metadata` names the serving region only; the others are known by their codes alone.
//! Codes are looked up exactly. A code that is not here is shown under the map.

use crate::region::RegionCode;

/// The city of a region and its place on Earth, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub city: &'static str,
    pub latitude: f64,
    pub longitude: f64,
}

/// The place of a known region.
pub fn locate(region: &RegionCode) -> Option<Place> {
    PLACES
        .iter()
        .find(|(code, ..)| *code == region.as_str())
        .map(|&(_, city, latitude, longitude)| Place {
            city,
            latitude,
            longitude,
        })
}

#[rustfmt::skip]
const PLACES: &[(&str, &str, f64, f64)] = &[
    // Fly.io
    ("ams", "Amsterdam", 52.37, 4.90),
    ("arn", "Stockholm", 59.33, 18.07),
    ("atl", "Atlanta", 33.75, -84.39),
    ("bog", "Bogotá", 4.71, -74.07),
    ("bom", "Mumbai", 19.08, 72.88),
    ("bos", "Boston", 42.36, -71.06),
    ("cdg", "Paris", 48.86, 2.35),
    ("den", "Denver", 39.74, -104.99),
    ("dfw", "Dallas", 32.78, -96.80),
    ("ewr", "Secaucus", 40.79, -74.06),
    ("eze", "Ezeiza", -34.85, -58.52),
    ("fra", "Frankfurt", 50.11, 8.68),
    ("gdl", "Guadalajara", 20.67, -103.35),
    ("gig", "Rio de Janeiro", -22.91, -43.17),
    ("gru", "São Paulo", -23.55, -46.63),
    ("hkg", "Hong Kong", 22.32, 114.17),
    ("iad", "Ashburn", 39.04, -77.49),
    ("jnb", "Johannesburg", -26.20, 28.05),
    ("lax", "Los Angeles", 34.05, -118.24),
    ("lhr", "London", 51.51, -0.13),
    ("mad", "Madrid", 40.42, -3.70),
    ("mia", "Miami", 25.76, -80.19),
    ("nrt", "Tokyo", 35.68, 139.69),
    ("ord", "Chicago", 41.88, -87.63),
    ("otp", "Bucharest", 44.43, 26.10),
    ("phx", "Phoenix", 33.45, -112.07),
    ("qro", "Querétaro", 20.59, -100.39),
    ("scl", "Santiago", -33.45, -70.67),
    ("sea", "Seattle", 47.61, -122.33),
    ("sin", "Singapore", 1.35, 103.82),
    ("sjc", "San Jose", 37.34, -121.89),
    ("syd", "Sydney", -33.87, 151.21),
    ("waw", "Warsaw", 52.23, 21.01),
    ("yul", "Montreal", 45.50, -73.57),
    ("yyz", "Toronto", 43.65, -79.38),
    // AWS
    ("af-south-1", "Cape Town", -33.92, 18.42),
    ("ap-east-1", "Hong Kong", 22.32, 114.17),
    ("ap-northeast-1", "Tokyo", 35.68, 139.69),
    ("ap-northeast-2", "Seoul", 37.57, 126.98),
    ("ap-south-1", "Mumbai", 19.08, 72.88),
    ("ap-southeast-1", "Singapore", 1.35, 103.82),
    ("ap-southeast-2", "Sydney", -33.87, 151.21),
    ("ca-central-1", "Montreal", 45.50, -73.57),
    ("eu-central-1", "Frankfurt", 50.11, 8.68),
    ("eu-north-1", "Stockholm", 59.33, 18.07),
    ("eu-south-1", "Milan", 45.46, 9.19),
    ("eu-west-1", "Dublin", 53.35, -6.26),
    ("eu-west-2", "London", 51.51, -0.13),
    ("eu-west-3", "Paris", 48.86, 2.35),
    ("me-south-1", "Manama", 26.23, 50.59),
    ("sa-east-1", "São Paulo", -23.55, -46.63),
    ("us-east-1", "Ashburn", 39.04, -77.49),
    ("us-east-2", "Columbus", 39.96, -83.00),
    ("us-west-1", "San Francisco", 37.77, -122.42),
    ("us-west-2", "Boardman", 45.84, -119.70),
    // Google Cloud
    ("asia-east1", "Changhua County", 24.08, 120.54),
    ("asia-northeast1", "Tokyo", 35.68, 139.69),
    ("asia-south1", "Mumbai", 19.08, 72.88),
    ("asia-southeast1", "Singapore", 1.35, 103.82),
    ("australia-southeast1", "Sydney", -33.87, 151.21),
    ("europe-north1", "Hamina", 60.57, 27.20),
    ("europe-west1", "St. Ghislain", 50.45, 3.82),
    ("europe-west2", "London", 51.51, -0.13),
    ("europe-west3", "Frankfurt", 50.11, 8.68),
    ("europe-west4", "Eemshaven", 53.44, 6.84),
    ("southamerica-east1", "São Paulo", -23.55, -46.63),
    ("us-central1", "Council Bluffs", 41.26, -95.86),
    ("us-east1", "Moncks Corner", 33.20, -80.01),
    ("us-east4", "Ashburn", 39.04, -77.49),
    ("us-west1", "The Dalles", 45.59, -121.18),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_there_once_and_on_earth() {
        let codes: BTreeSet<_> = PLACES.iter().map(|(code, ..)| code).collect();
        assert_eq!(codes.len(), PLACES.len());
        for (code, city, latitude, longitude) in PLACES {
            assert!(RegionCode::try_from(*code).is_ok());
            assert!(!city.is_empty());
            assert!((-56.0..84.0).contains(latitude), "{code}");
            assert!((-170.0..180.0).contains(longitude), "{code}");
        }
    }

    #[test]
    fn every_fly_region_of_today_is_known() {
        for code in [
            "ams", "arn", "bom", "cdg", "dfw", "ewr", "fra", "gru", "iad", "jnb", "lax", "lhr",
            "nrt", "ord", "sin", "sjc", "syd", "yyz",
        ] {
            assert!(locate(&RegionCode::normalise(code)).is_some(), "{code}");
        }
        assert_eq!(locate(&RegionCode::normalise("kind")), None);
        assert_eq!(locate(&RegionCode::normalise("IAD")), None);
    }
}
