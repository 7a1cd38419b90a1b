//! Where regions are, as far as choosing the nearest one needs it.

/// Degrees of latitude and longitude of the Fly.io regions' cities.
const PLACES: [(&str, f64, f64); 35] = [
    ("ams", 52.37, 4.90),
    ("arn", 59.33, 18.07),
    ("atl", 33.75, -84.39),
    ("bog", 4.71, -74.07),
    ("bom", 19.08, 72.88),
    ("bos", 42.36, -71.06),
    ("cdg", 48.86, 2.35),
    ("den", 39.74, -104.99),
    ("dfw", 32.78, -96.80),
    ("ewr", 40.74, -74.17),
    ("eze", -34.60, -58.38),
    ("fra", 50.11, 8.68),
    ("gdl", 20.67, -103.35),
    ("gig", -22.91, -43.17),
    ("gru", -23.55, -46.63),
    ("hkg", 22.32, 114.17),
    ("iad", 39.04, -77.49),
    ("jnb", -26.20, 28.05),
    ("lax", 34.05, -118.24),
    ("lhr", 51.51, -0.13),
    ("mad", 40.42, -3.70),
    ("mia", 25.76, -80.19),
    ("nrt", 35.68, 139.69),
    ("ord", 41.88, -87.63),
    ("otp", 44.43, 26.10),
    ("phx", 33.45, -112.07),
    ("qro", 20.59, -100.39),
    ("scl", -33.45, -70.67),
    ("sea", 47.61, -122.33),
    ("sin", 1.35, 103.82),
    ("sjc", 37.34, -121.89),
    ("syd", -33.87, 151.21),
    ("waw", 52.23, 21.01),
    ("yul", 45.50, -73.57),
    ("yyz", 43.65, -79.38),
];

/// The codes of every region whose place is known.
pub fn codes() -> impl Iterator<Item = &'static str> {
    PLACES.iter().map(|(code, _, _)| *code)
}

const EARTH_RADIUS_KM: f64 = 6371.0;

/// Great-circle distance between two regions, or `None` when either is unknown here.
pub(super) fn distance_km(from: &str, to: &str) -> Option<f64> {
    let ((lat1, lon1), (lat2, lon2)) = (place(from)?, place(to)?);
    let half_chord = ((lat2 - lat1) / 2.0).sin().powi(2)
        + lat1.cos() * lat2.cos() * ((lon2 - lon1) / 2.0).sin().powi(2);
    Some(2.0 * EARTH_RADIUS_KM * half_chord.sqrt().min(1.0).asin())
}

/// Whether a region's place is known here.
pub(super) fn is_known(region: &str) -> bool {
    place(region).is_some()
}

fn place(region: &str) -> Option<(f64, f64)> {
    PLACES
        .iter()
        .find(|(code, _, _)| *code == region)
        .map(|(_, lat, lon)| (lat.to_radians(), lon.to_radians()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_globe() {
        let atlantic = distance_km("lhr", "ewr").unwrap();
        assert!((5500.0..5650.0).contains(&atlantic), "{atlantic}");
        let pacific = distance_km("nrt", "sjc").unwrap();
        assert!(
            (8200.0..8500.0).contains(&pacific),
            "across the date line: {pacific}"
        );
    }

    #[test]
    fn an_unknown_code_has_no_distance() {
        assert_eq!(distance_km("fra", "moon"), None);
        assert!(!is_known("moon"));
    }
}
